"""Videos with known answers through the networks themselves, whose weights are invented: from pixels to the score."""

from collections.abc import Sequence

import numpy as np
import pytest

from hallo3_lightning.evaluation.feature import measured
from hallo3_lightning.evaluation.footage import Footage, Kept
from hallo3_lightning.evaluation.networks import InventedFaces, Networks
from hallo3_lightning.evaluation.published_metric import ClipScore, metric
from tests.evaluation.videos import take

NETWORKS = Networks(seed=3)


def seen(frames: np.ndarray, features: Sequence[str]) -> Kept:
    footage = Footage("clip", frames, None, InventedFaces())
    return Kept({name: measured(name, footage, NETWORKS) for name in features}, len(frames))


def score(name: str, clip: Kept, real: Kept | None = None) -> float:
    found = metric(name)
    assert isinstance(found, ClipScore)
    return found.score(clip, real)


@pytest.mark.parametrize(
    ("name", "best"),
    [
        ("temporal_jitter/second_difference", 0),
        ("colour_drift/mean_rgb", 0),
        ("identity_drift/arcface", 0),
    ],
)
def test_a_frozen_face_stays_what_it_is_and_a_moving_one_does_not(name, best):
    moving = take(0)[0][:20:5]
    frozen = np.repeat(moving[:1], 4, axis=0)
    features = metric(name).features
    assert score(name, seen(frozen, features)) == pytest.approx(best, abs=1e-5)
    assert abs(score(name, seen(moving, features)) - best) > 1e-4


def test_another_person_is_less_alike_than_the_same_one_a_second_later():
    real, other = (seen(take(number)[0][:2], ["identity/arcface"]) for number in (0, 4))
    later = seen(take(0)[0][20:22], ["identity/arcface"])
    same, same_later, stranger = (score("identity_similarity/arcface", clip, real) for clip in (real, later, other))
    assert same > 0.95
    assert stranger < same_later < same


def test_sets_of_the_same_videos_have_no_distance_and_others_have_one():
    """One frame of each clip: FID's rows; what they are of is in tests/golden."""
    features = ["inception/pytorch_fid"]
    clips = {number: seen(take(number)[0][:2], features) for number in range(3)}
    fid = metric("fid/pytorch_fid")
    for number, kept in clips.items():
        for side in ("real", "fake", "real"):
            fid.update(side, f"clip-{number}", kept)
    assert float(fid.compute()) == pytest.approx(0, abs=1e-6)
    apart = metric("fid/pytorch_fid")
    for number, kept in clips.items():
        apart.update("real" if number else "fake", f"clip-{number}", kept)
    assert float(apart.compute()) > 1
