"""A report holds every score with its controls, and a protocol's hash says what may be compared."""

import json
from dataclasses import fields, replace

import pytest
import torch
from torch import nn

from hallo3_lightning.errors import UsageError
from hallo3_lightning.evaluation.protocol import Evaluation, Protocol


@pytest.fixture(scope="module")
def report(people):
    evaluation = Evaluation(Protocol(clips=12))
    dimmer = (0.9 * people.video.roll(2, dims=1)).to(torch.uint8)
    for part in (slice(0, 5), slice(5, 12)):
        evaluation.update("generated", dimmer[part], people.rows(part), given=1, borders=(9,))
        evaluation.update("reconstruction", people.video[part], people.rows(part), given=1, borders=(9,))
    return evaluation.report()


def test_report_is_strict_json_with_every_metric(report):
    again = json.loads(json.dumps(report, allow_nan=False))
    assert again == report
    assert list(report["metrics"]) == list(Protocol().metrics)
    for summary in report["metrics"].values():
        assert set(summary) == {"value", "std_error", "n", "unit", "higher_is_better"}
        assert summary["n"] == 12
    assert report["protocol"]["hash"] == Protocol(clips=12).hash


def test_report_holds_control_and_ceiling(report):
    score = report["metrics"]["mouth_correlation"]["value"]
    ceiling = report["controls"]["reconstruction"]["mouth_correlation"]["value"]
    assert abs(report["controls"]["shuffled_audio"]["mouth_correlation"]["value"]) < 0.4
    assert score < ceiling - 0.1
    assert ceiling > 0.95
    assert set(report["rows"]) == {"generated", "reconstruction", "shuffled_audio"}
    assert set(report["rows"]["shuffled_audio"]) == {"mouth_correlation"}


def test_summary_follows_from_its_rows(report):
    rows = torch.tensor([*report["rows"]["generated"]["psnr"].values()], dtype=torch.float64)
    summary = report["metrics"]["psnr"]
    assert summary["value"] == pytest.approx(rows.mean().item())
    assert summary["std_error"] == pytest.approx((rows.std() / len(rows) ** 0.5).item())


def test_curves_of_the_first_clips(report, people):
    assert list(report["curves"]) == list(people.keys[:8])
    assert report["curves"]["clip-03"]["true"] == pytest.approx(people.truth["aperture"][3, 1:].tolist(), rel=1e-5)
    assert len(report["curves"]["clip-03"]["measured"]) == 16


def test_clips_without_a_score_are_counted(people):
    evaluation = Evaluation(Protocol(metrics=("seam", "psnr")))
    evaluation.update("generated", people.video, people)
    report = evaluation.report()
    assert list(report["metrics"]) == ["psnr"]
    assert report["missing"]["generated"] == {"seam": 12}
    assert report["curves"] == {}
    assert report["controls"] == {"reconstruction": {}}


def test_reset_starts_over(people):
    evaluation = Evaluation(Protocol(metrics=("psnr",)))
    evaluation.update("generated", people.video, people)
    evaluation.reset()
    assert evaluation.report()["metrics"] == {}


def test_evaluation_adds_nothing_to_a_checkpoint():
    module = nn.ModuleDict({"evaluation": Evaluation(Protocol())})
    assert module.state_dict() == {}
    assert list(module.parameters()) == []


CHANGES = {"id": "tiny-v2", "clips": 7, "frames": 9, "guidance": 1.0, "sampler_steps": 3, "sampler": "dpm", "seed": 1}


def test_every_field_changes_the_hash():
    changed = [replace(Protocol(), **{name: value}) for name, value in CHANGES.items()]
    changed.append(replace(Protocol(), metrics=("psnr",)))
    assert len(changed) == len(fields(Protocol))
    assert len({protocol.hash for protocol in [Protocol(), *changed]}) == len(changed) + 1
    assert Protocol().hash == Protocol().hash


def test_wrong_names_list_the_right_ones(people):
    with pytest.raises(UsageError, match=r"mouth_corelation.*did you mean 'mouth_correlation'"):
        Evaluation(Protocol(metrics=("mouth_corelation",)))
    with pytest.raises(UsageError, match="generated, reconstruction"):
        Evaluation(Protocol(metrics=("psnr",))).update("truth", people.video, people)
