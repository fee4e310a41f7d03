"""What metrics give where there is nothing to find."""

import pytest
import torch

from hallo3_lightning.backbones.syncnet import SHIFTS, WINDOW, Embeddings, agreement, distances
from hallo3_lightning.evaluation.distances import ClipRows
from hallo3_lightning.evaluation.features.lips import FLOOR_SHIFT, floor_shift, moved
from hallo3_lightning.evaluation.floors import SPLITS, clip_floors, set_floor
from hallo3_lightning.evaluation.footage import Kept, Measured
from hallo3_lightning.evaluation.lip_agreement import FLOOR_FRAMES
from hallo3_lightning.evaluation.published_metric import ClipScore, SetDistance, known_metrics, metric
from hallo3_lightning.geometry import FPS


def in_step(windows: int, seed: int = 0) -> Embeddings:
    """Lips and sound that are the same at every moment, and at no other."""
    rows = torch.randn(windows, 7, generator=torch.Generator().manual_seed(seed))
    return Embeddings(rows, rows + 1e-3)


def heard(windows: int) -> Kept:
    """A clip whose lips and sound are in step."""
    found, shift = in_step(windows), floor_shift(windows)
    values = {
        "distances": distances(found),
        "floor": distances(moved(found, shift)) if shift else torch.zeros(0, 2 * SHIFTS + 1),
        "floor_shift": torch.tensor([shift]),
        "as_reference": torch.ones(1),
        "span": torch.tensor([0, windows + WINDOW]),
    }
    return Kept({"lips/syncnet": Measured(values), "lips/syncnet-coded": Measured(values)}, windows + WINDOW)


@pytest.mark.parametrize("windows", range(1, 220, 7))
def test_the_sound_of_a_floor_is_more_than_a_second_away_and_no_shift_brings_it_back(windows):
    shift = floor_shift(windows)
    if windows + WINDOW < FLOOR_FRAMES:
        assert shift == 0
        return
    assert shift > FPS
    assert windows - shift > SHIFTS
    again = agreement(distances(moved(in_step(windows), shift)), only_sound_there=True)
    assert again.distance > 10 * agreement(distances(in_step(windows)), only_sound_there=True).distance
    assert sorted(moved(in_step(windows), shift).sound[:, 0].tolist()) == sorted(in_step(windows).sound[:, 0].tolist())


def test_the_shortest_clip_with_a_floor_is_as_long_as_is_said():
    assert FLOOR_FRAMES == 47
    assert floor_shift(FLOOR_FRAMES - WINDOW) == FLOOR_SHIFT
    assert floor_shift(FLOOR_FRAMES - WINDOW - 1) == 0


@pytest.mark.parametrize("variant", ["joonson", "joonson-coded", "padded", "valid"])
def test_lips_in_step_are_far_from_their_floor(variant):
    clips = {"b": heard(80), "a": heard(44), "short": heard(30)}
    for name, better in (("sync_c", 1), ("sync_d", -1)):
        found = metric(f"{name}/{variant}")
        assert isinstance(found, ClipScore)
        floors = clip_floors(found, clips)
        assert [*floors] == ["a", "b", "short"]
        for clip in ("a", "b"):
            assert better * (found.score(clips[clip], None) - floors[clip].value) > 1
        assert floors["short"].value is None
        assert floors["short"].status.startswith("too short to hear its sound more than a second late")


def test_only_lips_have_a_number_by_chance():
    scores = [found for name in known_metrics() if isinstance(found := metric(name), ClipScore)]
    assert {found.title for found in scores if found.has_floor} == {"Sync-C", "Sync-D"}
    assert all(clip_floors(found, {"a": heard(60)}) == {} for found in scores if not found.has_floor)


def made(seed: int, clips: int, move: float = 0.0) -> ClipRows:
    """Of each clip a number of rows of its own."""
    draws = torch.Generator().manual_seed(seed)
    return ClipRows({f"c{i:02d}": torch.randn(2 + i % 3, 5, generator=draws) + move for i in range(clips)})


def distance(name: str) -> SetDistance:
    found = metric(name)
    assert isinstance(found, SetDistance)
    return found


def test_halves_of_one_distribution_and_clips_of_another():
    real, near, far = made(0, 41), made(1, 41), made(2, 41, move=2.0)
    for name in ("efid/precomputed", "kid/pytorch_fid"):
        floor, beyond = (set_floor(distance(name), real, fake) for fake in (near, far))
        assert (floor.clips, floor.splits) == (20, SPLITS)
        assert floor.value == beyond.value
        assert beyond.fake > 5 * abs(floor.fake) + 1
    frechet, kernel = (set_floor(distance(name), real, near) for name in ("efid/precomputed", "kid/pytorch_fid"))
    whole = distance("efid/precomputed").distance(real.of(), near.of())
    assert frechet.value > 1.3 * whole  # it grows as clips get fewer: the whole set's number may not stand beside it
    assert frechet.fake == pytest.approx(frechet.value, rel=0.4)
    assert abs(kernel.value) < 0.3


def test_halves_share_no_clip_and_depend_on_the_seed_and_on_nothing_else():
    real, fake = made(0, 12), made(1, 12)
    efid = distance("efid/precomputed")
    plain = set_floor(efid, real, fake)
    assert set_floor(efid, ClipRows(dict(reversed(real.rows.items()))), fake) == plain
    assert set_floor(efid, real, fake, seed=1).value != plain.value
    twice = ClipRows({clip: torch.full((3, 2), float(i)) for i, clip in enumerate(real.clips)})
    kernel = set_floor(distance("kid/pytorch_fid"), twice, twice)
    assert kernel.value == kernel.fake  # the fake clips in the other half's place are those of its names


def test_too_few_clips_have_no_floor():
    efid = distance("efid/precomputed")
    assert set_floor(efid, made(0, 1), made(1, 9)) is None
    assert set_floor(efid, made(0, 8), made(1, 3)).fake is None
    others = ClipRows({f"new-{clip}": rows for clip, rows in made(1, 9).rows.items()})
    assert set_floor(efid, made(0, 8), others).fake is not None
