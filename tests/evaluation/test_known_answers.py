"""Videos made wrong in one known way, and what the metrics say of them."""

import multiprocessing
from pathlib import Path

import pytest
import torch
from einops import rearrange
from torch import distributed
from torch.nn.functional import avg_pool2d

from hallo3_lightning.backbones.consistency import consistency
from hallo3_lightning.batch import Batch
from hallo3_lightning.evaluation.conditions import Conditions
from hallo3_lightning.evaluation.metrics.identity_distance import features
from hallo3_lightning.evaluation.motion import jumps
from hallo3_lightning.evaluation.protocol import Evaluation, Protocol
from hallo3_lightning.find import find, names
from hallo3_lightning.geometry import FPS


def scored(name: str, video: torch.Tensor, batch: Batch, **how) -> list[float]:
    metric = find("evaluation.metrics", name)()
    metric.update(video, batch, **how)
    assert not metric.missing()
    return [*metric.rows().values()]


def frozen(video: torch.Tensor) -> torch.Tensor:
    return video[:, :1].expand_as(video)


def test_a_frozen_face_has_no_motion_and_perfect_consistency(people):
    still = frozen(people.video)
    assert jumps(still).eq(0).all()
    assert scored("seam_ratio", still, people, borders=(9,)) == [1.0] * 12
    assert max(scored("temporal_jitter", still, people)) < 0
    assert [consistency(clip) for clip in features(still)] == pytest.approx([1.0] * 12, abs=1e-6)
    assert min(scored("identity_drift", still, people.with_(video=still))) == pytest.approx(0, abs=1e-5)


@pytest.mark.parametrize("border", [3, 9, 13])
def test_a_planted_seam_is_found_at_its_border_and_nowhere_else(people, border):
    seamed = people.video.clone()
    seamed[:, border:] = (seamed[:, border:].float() * 0.85).to(torch.uint8)
    assert set((jumps(seamed).argmax(dim=1) + 1).tolist()) <= {border - 1, border}
    here = scored("seam_ratio", seamed, people, borders=(border,))
    for other in {3, 9, 13} - {border}:
        assert max(scored("seam_ratio", seamed, people, borders=(other,))) < min(here)
        assert max(scored("seam_ratio", seamed, people, borders=(other,))) < 1
    plain = scored("seam_ratio", people.video, people, borders=(border,))
    assert all(planted > 1.5 * before for planted, before in zip(here, plain, strict=True))


def test_a_clip_of_one_window_has_no_seam(people):
    metric = find("evaluation.metrics", "seam_ratio")()
    metric.update(people.video, people)
    assert metric.missing() == list(people.keys)


def test_a_planted_drift_of_colour_is_measured_as_planted(people):
    """Red and blue rise by 25 grey levels a second from mid grey: sqrt(2) * 25."""
    grey = torch.full_like(people.video, 100)
    ramp = rearrange(torch.arange(17), "f -> f 1 1 1") * rearrange(torch.tensor([1, 0, 1]), "c -> c 1 1")
    batch = people.with_(video=grey)
    assert scored("colour_drift", grey + ramp.to(torch.uint8), batch) == pytest.approx([2**0.5 * FPS] * 12, rel=1e-5)
    assert scored("colour_drift", grey + 30, batch) == pytest.approx([0.0] * 12, abs=1e-4)
    assert scored("colour_drift", people.video, people) == [0.0] * 12


def test_a_face_that_turns_into_another_drifts_and_one_that_is_another_does_not(people):
    other = people.video.roll(1, dims=0)
    share = rearrange(torch.linspace(0, 1, 17), "f -> f 1 1 1")
    turning = ((1 - share) * people.video + share * other).to(torch.uint8)
    truth = scored("identity_drift", people.video, people)
    assert sum(scored("identity_drift", turning, people)) / 12 > 5 + abs(sum(truth)) / 12
    assert abs(sum(scored("identity_drift", other, people))) / 12 < 2
    near, far = (sum(scored("identity_distance", video, people)) for video in (people.video, other))
    assert far > 5 * near + 12  # another identity is no likeness, whether it drifts or not


def test_blur_and_noise_are_told_apart(people):
    flat = rearrange(people.video, "b f c h w -> (b f) c h w").float()
    blurred = rearrange(avg_pool2d(flat, 3, 1, 1), "(b f) c h w -> b f c h w", b=12).to(torch.uint8)
    noise = 12 * torch.randn(people.video.shape, generator=torch.Generator().manual_seed(0))
    noisy = (people.video + noise).clamp(0, 255).to(torch.uint8)
    assert scored("sharpness", people.video, people) == [0.0] * 12
    assert max(scored("sharpness", blurred, people)) < -0.5
    assert min(scored("sharpness", noisy, people)) > 0


def test_conditions_are_those_of_the_true_video(people):
    truth = {
        "yaw": torch.full((12, 17), -0.5),
        "light_direction": rearrange(torch.tensor([0.0, 0.6, 0.8]), "c -> 1 1 c").expand(12, 17, 3),
    }
    conditions = Conditions(people.with_(truth=truth), torch.device("cpu"))
    conditions.update(people.with_(truth=truth))
    found = {name: next(iter(rows.values())) for name, rows in conditions.rows().items()}
    assert found == pytest.approx({"yaw": 28.648, "light": 36.870, "length": 17 / FPS}, abs=1e-3)


PARTS = ((0, 1), (2, 3), (4, 5), (6, 7))
"""Clips of each batch."""


def _report(batch: Batch, video: torch.Tensor, parts) -> dict:
    evaluation = Evaluation(Protocol(metrics=tuple(names("evaluation.metrics"))))
    for part in parts:
        rows = torch.tensor(part)
        for source in ("generated", "reconstruction"):
            evaluation.update(source, video[rows], batch.rows(rows), borders=(9,))
    return evaluation.report()


def test_shuffled_and_repeated_clips_change_no_bit(people):
    video = (0.9 * people.video.roll(1, dims=1)).to(torch.uint8)
    plain = _report(people, video, PARTS)
    assert plain == _report(people, video, (PARTS[2], PARTS[0], PARTS[2], PARTS[3], PARTS[1]))
    assert all(plain["metrics"][name]["n"] == 8 for name in plain["metrics"])


def _rank(rank: int, meeting: str, batch: Batch, video: torch.Tensor, results) -> None:
    torch.set_num_threads(1)
    distributed.init_process_group("gloo", init_method=f"file://{meeting}", rank=rank, world_size=2)
    mine = {0: (PARTS[0], PARTS[3]), 1: (PARTS[1], PARTS[2], PARTS[3])}[rank]  # the last on both
    results.put((rank, _report(batch, video, mine)))
    distributed.destroy_process_group()


def test_one_rank_and_two_give_the_same_bits(people, tmp_path: Path):
    torch.set_num_threads(1)
    video = (0.9 * people.video.roll(1, dims=1)).to(torch.uint8)
    processes = multiprocessing.get_context("fork")
    results = processes.Queue()
    ranks = [processes.Process(target=_rank, args=(r, str(tmp_path / "m"), people, video, results)) for r in range(2)]
    for process in ranks:
        process.start()
    answers = dict(results.get(timeout=60) for _ in ranks)
    for process in ranks:
        process.join()
    assert answers[0] == answers[1] == _report(people, video, PARTS)
