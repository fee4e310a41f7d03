"""Published metrics on features whose scores are known: no network, no video."""

import multiprocessing
from pathlib import Path

import pytest
import torch
from torch import Tensor, distributed

from hallo3_lightning.errors import UsageError
from hallo3_lightning.evaluation.footage import Kept, Measured
from hallo3_lightning.evaluation.published_metric import ClipScore, SetDistance, known_metrics, metric

FRAMES = 12


def kept(feature: str, frames: int = FRAMES, **values: Tensor) -> Kept:
    return Kept({feature: Measured(values)}, frames)


def unit(rows: Tensor) -> Tensor:
    return rows / rows.norm(dim=1, keepdim=True)


def noise(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def scored(name: str, clip: Kept, real: Kept | None = None) -> float:
    found = metric(name)
    found.update("clip", clip, real)
    return float(found.compute())


@pytest.mark.parametrize("name", known_metrics())
def test_each_says_what_it_is(name):
    found = metric(name)
    assert found.protocol == name
    assert found.title
    assert found.unit
    assert found.higher_is_better in (True, False, None)
    assert type(found).__doc__
    assert all("/" in feature for feature in found.features)
    assert isinstance(found, ClipScore | SetDistance)


def test_a_frozen_face_stays_what_it_is_and_does_not_move():
    still = noise(1, 7).repeat(FRAMES, 1)
    assert scored("subject_consistency/vbench", kept("subject/dino", rows=still)) == pytest.approx(1)
    assert scored("background_consistency/vbench", kept("background/clip", rows=still)) == pytest.approx(1)
    pixels = {"sharpness": torch.full((FRAMES,), 3.0), "colour": torch.full((FRAMES, 3), 90.0)}
    pixels |= {"jumps": torch.zeros(FRAMES - 2), "steps": torch.zeros(FRAMES - 1)}
    assert scored("temporal_jitter/second_difference", kept("pixels/levels", **pixels)) == 0
    assert scored("colour_drift/mean_rgb", kept("pixels/levels", **pixels)) == pytest.approx(0, abs=1e-9)
    assert scored("sharpness/laplacian", kept("pixels/levels", **pixels)) == 3


def test_colours_that_wander_are_told_a_second():
    ramp = torch.arange(FRAMES)[:, None] * torch.tensor([2.0, 0.0, -1.0])
    found = scored("colour_drift/mean_rgb", kept("pixels/levels", colour=100 + ramp))
    assert found == pytest.approx(25 * 5**0.5)


def test_another_identity_lowers_similarity_and_the_share_of_frames_is_told():
    rows, numbers = unit(noise(FRAMES, 8)), torch.arange(FRAMES)
    real = kept("identity/arcface", rows=rows[:1].repeat(FRAMES, 1), numbers=numbers)
    near = kept("identity/arcface", rows=unit(rows[:1] + 0.1 * rows), numbers=numbers)
    other = kept("identity/arcface", rows=unit(noise(5, 8, seed=1)), numbers=numbers[:5])
    name = "identity_similarity/arcface"
    assert scored(name, real, real) == pytest.approx(1)
    assert scored(name, other, real) < 0.7 < scored(name, near, real) < 1
    found = metric(name)
    found.update("clip", other, real)
    assert (found.rows()["clip"].used, found.rows()["clip"].frames) == (5, FRAMES)


def test_an_identity_that_drifts_has_a_slope():
    angles = torch.cat([torch.zeros(1), torch.linspace(0.1, 1.0, FRAMES - 1)])
    rows = torch.stack([angles.cos(), angles.sin()], dim=1)
    drifting = kept("identity/arcface", rows=rows, numbers=torch.arange(FRAMES))
    assert scored("identity_drift/arcface", drifting) < -0.5
    steady = kept("identity/arcface", rows=rows[:1].repeat(FRAMES, 1), numbers=torch.arange(FRAMES))
    assert scored("identity_drift/arcface", steady) == pytest.approx(0, abs=1e-6)


def test_lips_are_compared_after_eyes_and_nose_lie_upon_each_other():
    face = torch.tensor([[30.0, 40.0], [50.0, 40.0], [40.0, 50.0], [33.0, 60.0], [47.0, 60.0]])
    real = face.repeat(FRAMES, 1, 1)
    moved = 2 * face.repeat(FRAMES, 1, 1) + 7
    moved[:, 3:, 1] += 4  # 2 of the real face's pixels, of 20 between the eyes
    moved[4] = float("nan")
    found = metric("lip_distance/five_points")
    found.update("clip", kept("faces/largest", landmarks=moved), kept("faces/largest", landmarks=real))
    assert float(found.compute()) == pytest.approx(10)
    assert found.rows()["clip"].used == FRAMES - 1
    found.update("alone", kept("faces/largest", landmarks=moved))
    assert found.rows()["alone"].status == "no real clip of that name"


def test_the_shape_of_68_landmarks_is_compared_whatever_place_and_size():
    points = 90 * torch.rand(68, 2, generator=torch.Generator().manual_seed(0))
    points[36], points[45] = torch.tensor([20.0, 30.0]), torch.tensor([60.0, 30.0])
    real = points.repeat(FRAMES, 1, 1)
    turned = 1.5 * torch.stack([-real[..., 1], real[..., 0]], dim=2) - 11
    wide = turned.clone()
    wide[:, 48:, 0] += 3  # 2 of the real face's pixels, of 40 between the outer corners of the eyes
    wide[:, :17] += 50  # the jaw moves in speech too, and is not looked at
    feature = "landmarks_file/given"
    same, apart = (
        scored("lip_distance/68", kept(feature, landmarks=p), kept(feature, landmarks=real)) for p in (turned, wide)
    )
    assert same == pytest.approx(0, abs=1e-4)
    assert apart == pytest.approx(5, rel=1e-5)
    found = metric("lip_distance/68")
    found.update("clip", kept(feature, landmarks=torch.zeros(FRAMES, 68, 2)), kept(feature, landmarks=real))
    assert found.rows()["clip"].status == "landmarks on one point"


def test_what_has_no_feature_is_a_status():
    found = metric("sharpness/laplacian")
    found.update("torn", Kept({"pixels/levels": Measured(status="unreadable video: cut off")}, 0))
    assert found.rows()["torn"].status == "unreadable video: cut off"
    assert found.rows()["torn"].value is None
    assert float(found.compute()) != float(found.compute())


def sets() -> list[tuple[str, str, Tensor]]:
    """Side, clip, rows: of both sides seven clips of different lengths."""
    return [
        (side, f"clip-{i}", noise(3 + i % 2, 5, seed=10 * i + shift) + shift)
        for side, shift in (("real", 0), ("fake", 1))
        for i in range(7)
    ]


def collected(name: str, clips: list[tuple[str, str, Tensor]]) -> SetDistance:
    found = metric(name)
    assert isinstance(found, SetDistance)
    for side, clip, rows in clips:
        found.update(side, clip, kept(found.features[0], rows=rows))
    return found


@pytest.mark.parametrize("name", ["fid/pytorch_fid", "kid/pytorch_fid", "fvd/disco", "kvd/disco", "efid/precomputed"])
def test_repeats_and_order_change_no_bit_and_equal_sets_have_no_distance(name):
    clips = sets()
    whole = collected(name, clips)
    order = [*reversed(clips), *clips[3:9]]
    assert collected(name, order).compute() == whole.compute() > 0.5
    same = [(side, clip, rows) for _, clip, rows in clips[:7] for side in ("real", "fake")]
    if name.startswith(("fid", "fvd", "efid")):
        assert float(collected(name, same).compute()) == pytest.approx(0, abs=1e-9)


def test_too_few_rows_and_sides_of_other_widths_have_no_distance():
    clips = sets()
    assert collected("fvd/disco", clips[:1] + clips[7:]).compute().isfinite()
    assert collected("fvd/disco", clips[:7]).compute().isnan()
    halves = collected("efid/precomputed", [*clips[:7], *((side, clip, rows[:, :4]) for side, clip, rows in clips[7:])])
    assert halves.compute().isnan()


@pytest.mark.parametrize("side", ["real", "fake"])
def test_a_clip_of_another_width_is_told_and_voids_no_set(side):
    clips = [clip for clip in sets() if clip[:2] != (side, "clip-2")]
    odd = collected("efid/precomputed", [(side, "clip-2", noise(3, 4)), *clips])
    assert float(odd.compute()) == float(collected("efid/precomputed", clips).compute())
    assert odd.rows(side)["clip-2"].status == "rows of 4 numbers, not 5"
    assert {row.status for clip, row in odd.rows(side).items() if clip != "clip-2"} == {"in the set"}


@pytest.mark.parametrize("name", ["n" * 4000, "a\nb", "ü/名", "bad\udcff"], ids=["long", "lines", "letters", "bytes"])
def test_any_name_of_a_clip_comes_back(name):
    found = metric("sharpness/laplacian")
    for clip in (name, "other"):
        found.update(clip, kept("pixels/levels", sharpness=noise(FRAMES)))
    assert set(found.rows()) == {name, "other"}


def _rank(rank: int, meeting: str, results) -> None:
    torch.set_num_threads(1)
    distributed.init_process_group("gloo", init_method=f"file://{meeting}", rank=rank, world_size=2)
    mine = sets()[:9] if rank == 0 else sets()[5:]  # four clips on both
    found = collected("fid/pytorch_fid", mine)
    results.put((rank, float(found.compute()), found.rows("fake")))
    distributed.destroy_process_group()


def test_two_ranks_give_the_bits_of_one(tmp_path: Path):
    processes = multiprocessing.get_context("fork")
    results = processes.Queue()
    ranks = [processes.Process(target=_rank, args=(rank, str(tmp_path / "meeting"), results)) for rank in range(2)]
    for process in ranks:
        process.start()
    answers = [results.get(timeout=60) for _ in ranks]
    for process in ranks:
        process.join()
    alone = collected("fid/pytorch_fid", sets())
    assert {value for _, value, _ in answers} == {float(alone.compute())}
    assert all(rows == alone.rows("fake") for _, _, rows in answers)


def test_unknown_names_are_told():
    with pytest.raises(UsageError, match="did you mean 'sharpness'"):
        metric("sharpnes/laplacian")
    with pytest.raises(UsageError, match="did you mean 'joonson'"):
        metric("sync_c/jonson")


def test_repeats_and_order_change_no_bit_of_scores_of_clips():
    clips = {f"clip-{i}": kept("pixels/levels", sharpness=noise(FRAMES, seed=i)) for i in range(5)}
    plain, again = metric("sharpness/laplacian"), metric("sharpness/laplacian")
    for name in clips:
        plain.update(name, clips[name])
    for name in [*reversed(clips), "clip-2", "clip-4"]:
        again.update(name, clips[name])
    assert again.rows() == plain.rows()
    assert again.compute() == plain.compute()
