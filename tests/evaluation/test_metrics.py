"""Each metric on rendered clips whose score is known."""

import pytest
import torch
from einops import rearrange

from hallo3_lightning.batch import Batch
from hallo3_lightning.evaluation.mouth import correlation, opening
from hallo3_lightning.find import find, names

ALL = names("evaluation.metrics")


def scored(name: str, video: torch.Tensor, batch: Batch, **how):
    metric = find("evaluation.metrics", name)()
    metric.update(video, batch, **how)
    return metric


def noisy(video: torch.Tensor, levels: float) -> torch.Tensor:
    noise = levels * torch.randn(video.shape, generator=torch.Generator().manual_seed(0))
    return (video + noise).clamp(0, 255).round().to(torch.uint8)


@pytest.mark.parametrize(
    ("name", "best"),
    [("mouth_correlation", 1.0), ("mouth_lag", 0.0), ("identity_distance", 0.0), ("temporal_jitter", 0.0)],
)
def test_the_truth_scores_best(people, name, best):
    rows = scored(name, people.video, people).rows()
    assert set(rows) == set(people.keys)
    assert [*rows.values()] == pytest.approx([best] * len(rows), abs=0.25)
    assert scored(name, people.video, people).compute() == pytest.approx(best, abs=0.05)


def test_psnr_of_equal_pixels_is_that_of_rounding(people):
    assert scored("psnr", people.video, people).compute() == pytest.approx(58.92, abs=0.01)


def test_psnr_of_a_known_error(people):
    dim = people.video.clamp(0, 200)
    brighter = dim + 10
    batch = people.with_(video=dim)
    assert scored("psnr", brighter, batch).compute() == pytest.approx(28.13, abs=0.01)  # 20 log10(255 / 10)


@pytest.mark.parametrize("delay", [-3, -1, 0, 2, 4])
def test_a_delayed_mouth_gives_that_lag(late, delay):
    batch = late(delay)
    rows = scored("mouth_lag", batch.video, batch).rows()
    assert [*rows.values()] == pytest.approx([delay] * len(rows), abs=0.4)


def test_a_delayed_mouth_correlates_less(late, people):
    batch = late(3)
    assert scored("mouth_correlation", batch.video, batch).compute() < 0.5


def test_shuffled_control_is_near_zero_and_far_from_the_score(people):
    control, score = (scored(f"mouth_correlation{kind}", people.video, people) for kind in ("_shuffled", ""))
    assert abs(control.compute()) < 0.35
    assert score.compute() > 0.95
    assert not set(control.rows().values()) & set(score.rows().values())


def test_shuffled_control_needs_two_clips(people):
    one = people.rows(slice(0, 1))
    control = scored("mouth_correlation_shuffled", one.video, one)
    assert control.rows() == {}
    assert control.missing() == ["clip-00"]


def test_a_still_mouth_follows_nothing_and_a_still_truth_cannot_be_followed(people):
    frozen = people.video[:, :1].expand_as(people.video)
    assert scored("mouth_correlation", frozen, people).compute() == 0
    assert scored("mouth_lag", frozen, people).rows() == {}
    silent = people.with_(truth={"aperture": torch.zeros_like(people.truth["aperture"])})
    assert scored("mouth_correlation", people.video, silent).missing() == list(people.keys)


def test_given_frames_are_not_scored(people):
    wrong = people.video.clone()
    wrong[:, :2] = 255 - wrong[:, :2]
    assert scored("psnr", wrong, people, given=2).compute() == pytest.approx(58.92, abs=0.01)
    assert scored("mouth_correlation", wrong, people, given=2).compute() > 0.95


def test_another_person_is_farther_than_the_same_in_another_take(people, retakes):
    same = scored("identity_distance", retakes, people).rows()
    for shift in (1, 5):
        other = scored("identity_distance", retakes.roll(shift, dims=0), people).rows()
        nearer = sum(same[key] < other[key] for key in same)
        assert nearer >= len(same) - 1
        assert sum(other.values()) > 3 * sum(same.values())


def test_identity_distance_grows_with_the_tint(people):
    def tinted(amount: float) -> torch.Tensor:
        gains = rearrange(torch.tensor([1 + amount, 1.0, 1 - amount]), "c -> c 1 1")
        return (people.video * gains).clamp(0, 255).to(torch.uint8)

    distances = [scored("identity_distance", tinted(amount), people).compute() for amount in (0.0, 0.1, 0.3)]
    assert distances == sorted(distances)
    assert distances[1] > 1


def test_jitter_sees_noise_and_frozen_faces(people):
    trembling = scored("temporal_jitter", noisy(people.video, 8), people).compute()
    assert 10 < trembling < 25  # white noise of deviation s has second differences of s * sqrt(6)
    frozen = people.video[:, :1].expand_as(people.video)
    assert scored("temporal_jitter", frozen, people).compute() < 0


def test_a_planted_seam_is_found_where_it_is(people):
    clean = scored("seam", people.video, people, borders=(9,)).compute()
    broken = people.video.clone()
    broken[:, 9:] = (broken[:, 9:].float() * 0.8).to(torch.uint8)
    found = scored("seam", broken, people, borders=(9,)).compute()
    elsewhere = scored("seam", broken, people, borders=(4,)).compute()
    assert abs(clean) < 2
    assert found > clean + 10
    assert elsewhere < 0


def test_one_window_has_no_seam(people):
    metric = scored("seam", people.video, people)
    assert metric.rows() == {}
    assert metric.missing() == list(people.keys)


def test_opening_is_zero_without_a_mouth_and_grows_with_it():
    size, half = 20, 10
    frames = torch.full((3, 3, size, size), 150, dtype=torch.uint8)
    cavity = torch.tensor([87, 5, 13], dtype=torch.uint8)
    frames[1, :, half:15, half:12] = rearrange(cavity, "c -> c 1 1")  # 10 of 400 pixels
    frames[2, :, half:15, half:14] = rearrange(cavity, "c -> c 1 1")
    none, small, large = opening(frames).tolist()
    assert none == pytest.approx(0, abs=0.1)
    assert small == pytest.approx(2.5, rel=0.2)
    assert large == pytest.approx(5.0, rel=0.2)


def test_correlation_against_torch():
    curves = torch.randn(2, 7, generator=torch.Generator().manual_seed(3), dtype=torch.float64)
    assert correlation(curves[0], curves[1]) == pytest.approx(torch.corrcoef(curves)[0, 1].item())


@pytest.mark.parametrize("name", ALL)
def test_every_metric_says_what_it_is(name):
    metric = find("evaluation.metrics", name)
    assert metric.unit
    assert "video" in metric.needs
    assert metric.higher_is_better in (True, False, None)
