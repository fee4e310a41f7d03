"""Scores of generated clips against what is true of them, kept clip by clip and put together when all are there."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from torch import Tensor

from hallo3_lightning.batch import Batch
from hallo3_lightning.evaluation import rows_file
from hallo3_lightning.evaluation.alarms import SIGNATURES, Alarm, alarms
from hallo3_lightning.evaluation.clip_metric import ClipMetric
from hallo3_lightning.evaluation.protocol import Evaluation, Protocol, scorable
from hallo3_lightning.evaluation.scoring import FEW_CLIPS
from hallo3_lightning.evaluation.told import Told
from hallo3_lightning.find import find
from hallo3_lightning.run_evaluation.clip_files import ClipFiles, Facts
from hallo3_lightning.run_evaluation.generation import Generation
from hallo3_lightning.training.alarms import Evidence
from hallo3_lightning.training.phase import UNSCORED_FRAMES, Phase

PREFIX = "truth/"
"""Of the ids of these metrics."""
SCORES, ALARMS = "scores", "alarms"

Kept = Mapping[str, Tensor]


def measured(phase: Phase, batch: Batch, generated: Tensor, borders: Sequence[int]) -> dict[str, Tensor]:
    """What every metric that such data allow keeps of a generated clip and of its reconstruction: `<group>|<metric>`.

    batch: of one; generated: uint8 [1, F, 3, H, W]; borders: first frame of every window after the first.
    """
    assert batch.video is not None
    given = min(UNSCORED_FRAMES, generated.shape[1] - 1)
    reconstruction = phase.reconstructed(batch.video)
    evaluation = Evaluation(Protocol(metrics=scorable(batch, Protocol.metrics))).to(phase.device)
    for source, video in (("generated", generated), ("reconstruction", reconstruction)):
        evaluation.update(source, video, batch, given=given, borders=borders)
    evidence = Evidence(batch, phase)
    evidence.update(generated, reconstruction, batch, phase)
    groups = {
        f"{SCORES}/generated": evaluation.metrics_of("generated"),
        f"{SCORES}/reconstruction": evaluation.metrics_of("reconstruction"),
        f"{ALARMS}/generated": evidence.generated,
        f"{ALARMS}/reconstruction": evidence.reconstruction,
    }
    return {
        f"{group}|{name}": next(iter(metric.kept().values())).float()
        for group, metrics in groups.items()
        for name, metric in metrics.items()
    }


def told(files: ClipFiles, facts: Sequence[Facts], generation: Generation, about: Mapping[str, Any]) -> Told:
    """Everything that is known of the clips of a run beside their videos. about: the generation, as tables have it."""
    made = [one for one in facts if not one.left_out]
    kept = {one.name: files.kept(one.name) for one in made}
    names = sorted({key for clip in kept.values() for key in clip})
    metrics = tuple(name for name in Protocol.metrics if f"{SCORES}/generated|{name}" in names)
    protocol = Protocol(
        clips=len(made),
        frames=generation.frames,
        guidance=generation.guidance,
        sampler_steps=generation.sampling_steps,
        sampler=generation.sampler,
        metrics=metrics,
        seed=generation.seed,
    )
    evaluation = Evaluation(protocol)
    for source in ("generated", "reconstruction"):
        for name, metric in evaluation.metrics_of(source).items():
            _fill(metric, f"{SCORES}/{source}|{name}", kept)
    report = evaluation.report()
    return Told(
        generation=about,
        metrics={f"{PREFIX}{name}": _summary(name, report) for name in report["metrics"]},
        rows=[
            {**row, "metric": f"{PREFIX}{row['metric']}"} for row in rows_file.rows_of(report, {}) if "metric" in row
        ],
        curves=report["curves"],
        borders=made[0].borders if made else (),
        alarms=_alarms(kept),
        notes=[f"{one.name} was not generated: {one.left_out}" for one in facts if one.left_out],
    )


def _summary(name: str, report: Mapping[str, Any]) -> dict[str, Any]:
    """As metrics of videos are told, with controls in place of real clips."""
    found, missing = report["metrics"][name], report["missing"]["generated"].get(name, 0)
    controls = {control: metrics[name] for control, metrics in report["controls"].items() if name in metrics}
    return {
        "title": "PSNR" if name == "psnr" else name.replace("_", " ").capitalize(),
        "protocol": f"{PREFIX}{name}",
        **found,
        "of": found["n"] + missing,
        "few": found["n"] < FEW_CLIPS,
        "controls": controls,
    }


def _alarms(kept: Mapping[str, Kept]) -> list[Alarm]:
    groups: dict[str, dict[str, dict[str, float]]] = {}
    wanted = {name for signature in SIGNATURES for name in (signature.metric, signature.floor) if name}
    for source in ("generated", "reconstruction"):
        for name in sorted(wanted):
            metric = find("evaluation.metrics", name)()
            _fill(metric, f"{ALARMS}/{source}|{name}", kept)
            groups.setdefault(source, {})[name] = metric.rows()
    return alarms(groups["generated"], groups["reconstruction"])


def _fill(metric: ClipMetric, key: str, kept: Mapping[str, Kept]) -> None:
    for clip, records in _known(key, kept):
        metric.add([clip], records[None])


def _known(key: str, kept: Mapping[str, Kept]) -> Iterator[tuple[str, Tensor]]:
    for clip in sorted(kept):
        if key in kept[clip]:
            yield clip, kept[clip][key]
