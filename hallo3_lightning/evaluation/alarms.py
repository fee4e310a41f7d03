"""Alarms: the ways in which a talking head goes wrong, each with a threshold from its own floor.

The floor of the lips is what chance gives: mouths against another sound. That of everything else is what the autoencoder
alone makes of the true video, which no network behind it can be blamed for; of videos without a run, the true ones.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from hallo3_lightning.evaluation.statistics import Rows, paired

DEVIATIONS = 2.0
"""How far from its floor's mean a mean may lie, in deviations of the floor from clip to clip."""

FEWEST = 4
"""Clips under which nothing is said."""


@dataclass(frozen=True)
class Alarm:
    """One failure that was looked for.

    excess: how far beyond the threshold, in deviations of the floor (standard errors for lips); it rings above 0;
    finding: what is wrong where it rings; measured: what was seen; limit: from where on it would have rung, and why there;
    clips: how many were looked at.
    """

    name: str
    metric: str
    excess: float
    threshold: float
    """In units of the metric."""
    finding: str
    measured: str
    limit: str
    clips: int

    @property
    def rings(self) -> bool:
        return self.excess > 0

    @property
    def sentence(self) -> str:
        """What a user reads."""
        said = f"{self.finding}: {self.measured}" if self.rings else self.measured
        return f"{self.name.replace('_', ' ')}: {said}; it rings {self.limit} ({self.clips} clips)"

    def as_json(self) -> dict[str, Any]:
        """For metrics.json."""
        return {**asdict(self), "rings": self.rings, "sentence": self.sentence}


@dataclass(frozen=True)
class Verdict:
    """What a judge says of a signature; see `Alarm`."""

    excess: float
    threshold: float
    finding: str
    measured: str
    limit: str


@dataclass(frozen=True)
class Signature:
    """What a failure is seen by.

    floor: a metric of the same clips, or "" for the same metric of the reference; grain: the least deviation of a floor
    that is taken seriously, in units of the metric; procedural: measured on drawn heads only; hears: of networks that
    hear something; reference: what the reference clips are.
    """

    name: str
    metric: str
    judge: Callable[["Signature", Rows, Rows], Verdict]
    floor: str = ""
    grain: float = 0.0
    procedural: bool = False
    hears: bool = False
    reference: str = "the reconstruction"


def alarms(
    generated: Mapping[str, Rows], reference: Mapping[str, Rows], signatures: Sequence[Signature] | None = None
) -> list[Alarm]:
    """Every alarm that enough clips have scores for: metric -> clip -> score of what was generated, and of the floor."""
    found = []
    for signature in SIGNATURES if signatures is None else signatures:
        scores = generated.get(signature.metric, {})
        floor = (generated if signature.floor else reference).get(signature.floor or signature.metric, {})
        shared = scores.keys() & floor.keys()
        if len(shared) >= FEWEST:
            said = signature.judge(
                signature, {clip: scores[clip] for clip in shared}, {clip: floor[clip] for clip in shared}
            )
            found.append(Alarm(signature.name, signature.metric, **asdict(said), clips=len(shared)))
    return found


def against_chance(signature: Signature, scores: Rows, floor: Rows) -> Verdict:
    """It rings unless the scores are above those of chance for sure."""
    gain = paired([scores], [floor])
    sure = bool(gain.std_error)
    excess = -gain.low / gain.std_error if sure and gain.std_error else -1.0 if gain.mean > 0 else 1.0
    threshold = _mean(floor) + (gain.mean - gain.low if sure else 0.0)
    return Verdict(
        excess,
        threshold,
        finding="mouths follow their own sound little better than another",
        measured=f"{signature.metric} {_mean(scores):.2f}, by chance {_mean(floor):.2f}",
        limit=f"below {threshold:.2f}, what chance gives and the 95% interval of the gain over it",
    )


def _drift(signature: Signature, scores: Rows, floor: Rows) -> Verdict:
    return beyond(signature, scores, floor, "faces leave their person", "{:.2f} deviations a second")


def _seams(signature: Signature, scores: Rows, floor: Rows) -> Verdict:
    return beyond(signature, scores, floor, "motion jumps where windows meet", "{:.2f} times as much as elsewhere")


def detail(signature: Signature, scores: Rows, floor: Rows) -> Verdict:
    """Both ways: less detail than the floor has is blur, more is noise. Scores in doublings."""
    blurred = _mean(scores) < _mean(floor)
    finding = f"pictures are {'blurred' if blurred else 'noisy'}"
    shown = "{:.2f} times the truth's fine detail"
    return beyond(signature, scores, floor, finding, shown, below=blurred, shown_as=lambda doublings: 2**doublings)


def beyond(
    signature: Signature,
    scores: Rows,
    floor: Rows,
    finding: str,
    shown: str,
    *,
    below: bool = False,
    shown_as: Callable[[float], float] = float,
) -> Verdict:
    """It rings where the mean is further above the floor's (or below it) than `DEVIATIONS`.

    shown: how a number is said, after `shown_as` has made one that people read.
    """
    deviation = max(float(np.std([*floor.values()], ddof=1)), signature.grain)
    sign = -1 if below else 1
    threshold = _mean(floor) + sign * DEVIATIONS * deviation
    return Verdict(
        sign * (_mean(scores) - _mean(floor)) / deviation - DEVIATIONS,
        threshold,
        finding,
        measured=f"{shown.format(shown_as(_mean(scores)))}, {shown_as(_mean(floor)):.2f} in {signature.reference}",
        limit=f"{'below' if below else 'above'} {shown_as(threshold):.2f}, the mean of {signature.reference} and "
        f"{DEVIATIONS:g} deviations from clip to clip",
    )


def _mean(rows: Rows) -> float:
    return math.fsum(rows[clip] for clip in sorted(rows)) / len(rows)


SIGNATURES = (
    Signature(
        "lips_off", "mouth_correlation", against_chance, floor="mouth_correlation_shuffled", procedural=True, hears=True
    ),
    Signature("identity_drift", "identity_drift", _drift, grain=0.2, procedural=True),
    Signature("seams", "seam_ratio", _seams, grain=0.05),
    Signature("low_quality", "sharpness", detail, grain=0.05),
)
