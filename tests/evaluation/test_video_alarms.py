"""Alarms on videos that anybody made, from the rows of their evaluation."""

import numpy as np
import pytest

from hallo3_lightning.evaluation.video_alarms import alarms_of_videos

CLIPS = 9


def rows(source: str, metric: str, values: np.ndarray) -> list[dict]:
    return [
        {"clip": f"clip-{i}", "source": source, "metric": metric, "value": float(value)}
        for i, value in enumerate(values)
    ]


def around(mean: float, spread: float, seed: int) -> np.ndarray:
    return np.random.default_rng(seed).normal(mean, spread, CLIPS)


@pytest.mark.parametrize(("gain", "rings"), [(0.0, True), (3.0, False)])
def test_lips_are_off_unless_above_what_chance_gives(gain, rings):
    told = rows("generated", "sync_c/valid", around(1 + gain, 0.4, 1)) + rows(
        "floor", "sync_c/valid", around(1, 0.4, 2)
    )
    (alarm,) = alarms_of_videos(told)
    assert (alarm.name, alarm.rings) == ("lips_off", rings)
    assert "what chance gives and the 95% interval" in alarm.sentence


@pytest.mark.parametrize(("slope", "rings"), [(-0.5, True), (-0.01, False), (0.5, False)])
def test_a_face_that_loses_its_likeness_rings(slope, rings):
    metric = "identity_drift/arcface"
    told = rows("generated", metric, around(slope, 0.01, 1)) + rows("real", metric, around(-0.01, 0.01, 2))
    (alarm,) = alarms_of_videos(told)
    assert (alarm.name, alarm.rings) == ("identity_drift", rings)
    assert "of the real clips and 2 deviations" in alarm.sentence


@pytest.mark.parametrize(("share", "word"), [(0.1, "blurred"), (10.0, "noisy"), (1.1, "")])
def test_sharpness_far_from_the_real_clips_rings_either_way(share, word):
    metric, true = "sharpness/laplacian", around(900, 90, 2)
    (alarm,) = alarms_of_videos(rows("generated", metric, share * true) + rows("real", metric, true))
    assert alarm.rings == bool(word)
    assert f"{share**0.5:.2f} times the truth's fine detail, 1.00 in the real clips" in alarm.sentence
    assert word in alarm.sentence


def test_without_real_clips_or_floors_nothing_is_said():
    told = rows("generated", "sharpness/laplacian", around(900, 90, 2)) + rows(
        "generated", "sync_c/valid", around(1, 0.4, 1)
    )
    assert alarms_of_videos(told) == []
