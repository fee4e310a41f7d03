import numpy as np
import pytest
from numpy.random import default_rng

from datamodules.synthetic.speech import speak
from hallo3_lightning.geometry import SAMPLE_RATE_HZ, SAMPLES_PER_FRAME


@pytest.mark.parametrize("frames", [1, 17, 34])
def test_sound_is_as_long_as_the_frames(frames):
    speech = speak(frames, default_rng(0), pitch_hz=120)
    assert speech.waveform.shape == (frames * SAMPLES_PER_FRAME,)
    assert speech.aperture.shape == speech.width.shape == (frames,)
    assert np.abs(speech.waveform).max() < 1


def test_open_mouths_are_loud():
    """Sound and mouth come from one sequence: loudness of a frame follows the aperture."""
    speech = speak(500, default_rng(1), pitch_hz=150)
    loudness = np.sqrt((speech.waveform.reshape(500, -1) ** 2).mean(1))
    assert np.corrcoef(loudness, speech.aperture)[0, 1] > 0.6
    assert loudness[speech.aperture > 0.5].mean() > 3 * loudness[speech.aperture < 0.02].mean()


def test_mouth_opens_and_closes():
    aperture = speak(500, default_rng(2), pitch_hz=150).aperture
    assert aperture.min() < 0.01
    assert 0.8 < aperture.max() <= 1
    assert np.abs(np.diff(aperture)).max() < 0.7


@pytest.mark.parametrize("pitch_hz", [100.0, 220.0])
def test_voice_has_its_pitch(pitch_hz):
    """The first two harmonics stand out, within the voice's wavering of a tenth."""
    waveform = speak(500, default_rng(3), pitch_hz).waveform
    spectrum = np.abs(np.fft.rfft(waveform)) ** 2
    hz = np.fft.rfftfreq(len(waveform), 1 / SAMPLE_RATE_HZ)
    near = (hz > 0.85 * pitch_hz) & (hz < 1.15 * pitch_hz)
    below, between = hz < 0.7 * pitch_hz, (hz > 1.25 * pitch_hz) & (hz < 1.7 * pitch_hz)
    assert spectrum[near].mean() > 20 * spectrum[below].mean()
    assert spectrum[near].mean() > 20 * spectrum[between].mean()
    second = (hz > 1.85 * pitch_hz) & (hz < 2.15 * pitch_hz)
    assert spectrum[second].mean() > 5 * spectrum[between].mean()


def test_same_generator_same_speech():
    one, other = (speak(9, default_rng(5), 110) for _ in range(2))
    np.testing.assert_array_equal(one.waveform, other.waveform)
    np.testing.assert_array_equal(one.aperture, other.aperture)
