"""Protocol: a versioned recipe of evaluation. Evaluation: the scores of one run under it."""

import hashlib
import json
import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, cast

from torch import Tensor, nn

from hallo3_lightning.batch import Batch
from hallo3_lightning.errors import unknown
from hallo3_lightning.evaluation.clip_metric import ClipMetric
from hallo3_lightning.evaluation.mouth import MouthCurves
from hallo3_lightning.find import find

SOURCES = ("generated", "reconstruction")
"""What is scored: clips of the sampler, and the autoencoder's own reconstruction of the truth (the ceiling)."""

CURVES = 8
"""Clips whose mouth curves a report holds."""


@dataclass(frozen=True)
class Protocol:
    """How clips are generated and scored. Two results may be compared only where every field agrees."""

    id: str = "tiny-v1"
    clips: int = 48
    frames: int = 17
    guidance: float | dict[str, float] = 2.0
    sampler_steps: int = 12
    sampler: str = "ddim"
    metrics: tuple[str, ...] = (
        "mouth_correlation",
        "mouth_lag",
        "identity_distance",
        "temporal_jitter",
        "seam",
        "psnr",
    )
    seed: int = 0

    @property
    def hash(self) -> str:
        """8 hex digits of all the fields."""
        return hashlib.blake2b(json.dumps(asdict(self), sort_keys=True).encode(), digest_size=4).hexdigest()


@dataclass(frozen=True)
class Control:
    """A control of a metric: the score of a generator without the skill, measured by another metric."""

    name: str
    target: str
    metric: str


class Evaluation(nn.Module):
    """Collects clips of both sources and reports every metric of the protocol with its controls."""

    def __init__(self, protocol: Protocol) -> None:
        super().__init__()
        self.protocol = protocol
        self.controls = _controls(protocol.metrics)
        self.generated = _metrics([*protocol.metrics, *(control.metric for control in self.controls)])
        self.reconstruction = _metrics(protocol.metrics)

    def update(self, source: str, video: Tensor, batch: Batch, given: int = 1, borders: Sequence[int] = ()) -> None:
        """Add B clips of a source; arguments as ClipMetric.update."""
        if source not in SOURCES:
            raise unknown("source of clips", source, SOURCES)
        for metric in _of(getattr(self, source)).values():
            metric.update(video, batch, given=given, borders=borders)

    def metrics_of(self, source: str) -> dict[str, ClipMetric]:
        """All metrics of a source by name, those of controls too."""
        return _of(getattr(self, source))

    def reset(self) -> None:
        """Forget every clip."""
        for source in SOURCES:
            for metric in _of(getattr(self, source)).values():
                metric.reset()

    def report(self) -> dict[str, Any]:
        """The contents of a run's metrics.json, over all ranks: only finite numbers, and null for a spread of one clip.

        A metric that scored no clip is left out of `metrics`; `missing` counts the clips that it could not score.
        """
        generated, reconstruction = _of(self.generated), _of(self.reconstruction)
        chosen = {name: generated[name] for name in self.protocol.metrics}
        controls: dict[str, dict[str, ClipMetric]] = {"reconstruction": reconstruction}
        for control in self.controls:
            controls.setdefault(control.name, {})[control.target] = generated[control.metric]
        return {
            "protocol": {**asdict(self.protocol), "metrics": list(self.protocol.metrics), "hash": self.protocol.hash},
            "metrics": _summaries(chosen),
            "controls": {name: _summaries(metrics) for name, metrics in controls.items()},
            "rows": {name: _rows(metrics) for name, metrics in {"generated": chosen, **controls}.items()},
            "missing": {name: _missing(metrics) for name, metrics in {"generated": chosen, **controls}.items()},
            "curves": _curves(chosen),
        }


def scorable(batch: Batch, names: Sequence[str]) -> tuple[str, ...]:
    """Those of the metrics whose every need the batch has."""
    return tuple(name for name in names if all(has(batch, need) for need in find("evaluation.metrics", name).needs))


def has(batch: Batch, need: str) -> bool:
    """Whether a batch has a field, or a track of the ground truth."""
    field, _, track = need.partition(".")
    value = getattr(batch, field)
    return value is not None and (not track or track in value)


def _metrics(names: Sequence[str]) -> nn.ModuleDict:
    return nn.ModuleDict({name: find("evaluation.metrics", name)() for name in names})


def _of(metrics: nn.ModuleDict) -> dict[str, ClipMetric]:
    return cast(dict[str, ClipMetric], dict(metrics.items()))


def _controls(metrics: Sequence[str]) -> tuple[Control, ...]:
    return tuple(
        Control(name, target, metric)
        for target in metrics
        for name, metric in find("evaluation.metrics", target).controls.items()
    )


def _summaries(metrics: Mapping[str, ClipMetric]) -> dict[str, dict[str, Any]]:
    rows = _rows(metrics)
    return {name: _summary(metrics[name], [*rows[name].values()]) for name in rows if rows[name]}


def _summary(metric: ClipMetric, values: Sequence[float]) -> dict[str, Any]:
    error = statistics.stdev(values) / math.sqrt(len(values)) if len(values) > 1 else None
    return {
        "value": statistics.fmean(values),
        "std_error": error,
        "n": len(values),
        "unit": metric.unit,
        "higher_is_better": metric.higher_is_better,
    }


def _rows(metrics: Mapping[str, ClipMetric]) -> dict[str, dict[str, float]]:
    return {name: metric.rows() for name, metric in metrics.items()}


def _missing(metrics: Mapping[str, ClipMetric]) -> dict[str, int]:
    return {name: count for name, metric in metrics.items() if (count := len(metric.missing()))}


def _curves(metrics: Mapping[str, ClipMetric]) -> Mapping[str, Any]:
    kept = next((metric.curves() for metric in metrics.values() if isinstance(metric, MouthCurves)), {})
    return dict(list(kept.items())[:CURVES])
