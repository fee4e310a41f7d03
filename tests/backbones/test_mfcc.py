"""Cepstra: what follows from their definition."""

import numpy as np
import pytest

from hallo3_lightning.backbones.mfcc import mfcc

NOISE = (np.random.default_rng(1).normal(size=3210) * 900).astype(np.int16)


@pytest.mark.parametrize(("samples", "frames"), [(1, 1), (400, 1), (401, 2), (560, 2), (561, 3), (16000, 99)])
def test_a_frame_each_10_ms(samples, frames):
    assert mfcc(np.ones(samples, np.int16)).shape == (frames, 13)


def test_twice_as_loud_is_known_by_the_first_alone():
    """Its square is four times the energy; the others are of the shape of the spectrum."""
    difference = mfcc(2 * NOISE) - mfcc(NOISE)
    np.testing.assert_allclose(difference[:, 0], np.log(4))
    np.testing.assert_allclose(difference[:, 1:], 0, atol=1e-9)


def test_the_first_is_the_energy_of_the_frame():
    """By Parseval, without the emphasis of high notes where there are none to emphasise: a lone click."""
    click = np.zeros(400)
    click[100] = 1000
    expected = 1000**2 * (1 + 0.97**2)
    total = np.exp(mfcc(click)[0, 0]) * 512  # of 257 bins of 512, divided by 512
    assert expected * 512 / 2 == pytest.approx(total, rel=0.01)


def test_later_sound_changes_no_earlier_frame():
    later = NOISE.copy()
    later[1600:] = 0
    same = np.isclose(mfcc(later), mfcc(NOISE)).all(axis=1)
    assert same.tolist() == [i * 160 + 400 <= 1600 for i in range(len(same))]


def test_silence_is_finite():
    assert np.isfinite(mfcc(np.zeros(900, np.int16))).all()
