"""Alarms on videos with one thing wrong: that one rings, and on the truth none does."""

import pytest
import torch
from einops import rearrange
from torch.nn.functional import avg_pool2d

from hallo3_lightning.batch import Batch
from hallo3_lightning.evaluation.alarms import SIGNATURES, alarms
from hallo3_lightning.find import find

JOIN = 9


def rows(video: torch.Tensor, batch: Batch) -> dict[str, dict[str, float]]:
    """Scores of every metric that an alarm needs."""
    found = {}
    for name in {name for s in SIGNATURES for name in (s.metric, s.floor) if name}:
        metric = find("evaluation.metrics", name)()
        metric.update(video, batch, borders=(JOIN,))
        found[name] = metric.rows()
    return found


def seamed(video: torch.Tensor) -> torch.Tensor:
    wrong = video.clone()
    wrong[:, JOIN:] = wrong[:, JOIN:] // 2 + 60
    return wrong


def drifting(video: torch.Tensor) -> torch.Tensor:
    share = rearrange(torch.linspace(0, 1, video.shape[1]), "f -> f 1 1 1")
    return ((1 - share) * video + share * video.roll(1, dims=0)).to(torch.uint8)


def blurred(video: torch.Tensor) -> torch.Tensor:
    flat = rearrange(video, "b f c h w -> (b f) c h w").float()
    return rearrange(avg_pool2d(flat, 3, 1, 1), "(b f) c h w -> b f c h w", f=video.shape[1]).to(torch.uint8)


def noisy(video: torch.Tensor) -> torch.Tensor:
    noise = 20 * torch.randn(video.shape, generator=torch.Generator().manual_seed(0))
    return (video + noise).clamp(0, 255).to(torch.uint8)


def still(video: torch.Tensor) -> torch.Tensor:
    return video[:, :1].expand_as(video)


@pytest.mark.parametrize(
    ("wrong", "name", "words"),
    [
        (seamed, "seams", "motion jumps where windows meet: "),
        (drifting, "identity_drift", "leave their person: "),
        (blurred, "low_quality", "pictures are blurred"),
        (noisy, "low_quality", "pictures are noisy"),
        (still, "lips_off", "little better than another: mouth_correlation 0.00, by chance 0.00"),
    ],
)
def test_what_is_wrong_rings(people, wrong, name, words):
    found = {alarm.name: alarm for alarm in alarms(rows(wrong(people.video), people), rows(people.video, people))}
    assert found[name].rings
    assert words in found[name].sentence
    assert found[name].sentence.endswith("(12 clips)")
    assert found[name].limit in found[name].sentence


def test_the_truth_rings_nothing(people):
    truth = rows(people.video, people)
    found = alarms(truth, truth)
    assert [alarm.name for alarm in found] == [signature.name for signature in SIGNATURES]
    assert not [alarm.sentence for alarm in found if alarm.rings]


def test_few_clips_and_missing_metrics_say_nothing(people):
    truth = rows(people.video, people)
    three = {name: dict([*scores.items()][:3]) for name, scores in truth.items()}
    assert alarms(three, three) == []
    assert [a.name for a in alarms({"sharpness": truth["sharpness"]}, truth)] == ["low_quality"]
    assert alarms(truth, {})[0].name == "lips_off"
