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
    """excess: how far beyond the threshold, in deviations of the floor (standard errors for lips); it rings above 0.
    threshold: in units of the metric; origin: where that comes from."""

    name: str
    metric: str
    excess: float
    threshold: float
    origin: str
    finding: str

    @property
    def rings(self) -> bool:
        return self.excess > 0

    @property
    def sentence(self) -> str:
        """What a user reads."""
        return f"{self.name.replace('_', ' ')}: {self.finding}; threshold {self.threshold:.2f}: {self.origin}"

    def as_json(self) -> dict[str, Any]:
        """For metrics.json."""
        return {**asdict(self), "rings": self.rings, "sentence": self.sentence}


@dataclass(frozen=True)
class Verdict:
    """What a judge says of a signature; see `Alarm`."""

    excess: float
    threshold: float
    origin: str
    finding: str


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
            found.append(
                Alarm(signature.name, signature.metric, said.excess, said.threshold, said.origin, said.finding)
            )
    return found


def against_chance(signature: Signature, scores: Rows, floor: Rows) -> Verdict:
    """It rings unless the scores are above those of chance for sure."""
    gain = paired([scores], [floor])
    finding = (
        f"mouths follow their own sound little better than another ({signature.metric} {_mean(scores):.2f}, by chance "
        f"{_mean(floor):.2f}, {gain.clips} clips)"
    )
    if not gain.std_error:
        excess, margin = (-1.0 if gain.mean > 0 else 1.0), 0.0
    else:
        excess, margin = -gain.low / gain.std_error, gain.mean - gain.low
    origin = "what chance gives and the 95% interval of the gain over it"
    return Verdict(excess, _mean(floor) + margin, origin, finding)


def _drift(signature: Signature, scores: Rows, floor: Rows) -> Verdict:
    return beyond(
        signature,
        scores,
        floor,
        f"faces leave their person by {_mean(scores):.1f} deviations a second "
        f"({_mean(floor):.1f} in {signature.reference}, {len(scores)} clips)",
    )


def _seams(signature: Signature, scores: Rows, floor: Rows) -> Verdict:
    return beyond(
        signature,
        scores,
        floor,
        f"motion jumps {_mean(scores):.1f} times as much where windows meet as elsewhere "
        f"({_mean(floor):.1f} times in {signature.reference}, {len(scores)} clips)",
    )


def _detail(signature: Signature, scores: Rows, floor: Rows) -> Verdict:
    """Both ways: less detail than the autoencoder leaves is blur, more is noise."""
    blurred = _mean(scores) < _mean(floor)
    finding = (
        f"pictures are {'blurred' if blurred else 'noisy'}: {2 ** _mean(scores):.2f} times the truth's fine detail "
        f"({2 ** _mean(floor):.2f} times in {signature.reference}, {len(scores)} clips)"
    )
    return beyond(signature, scores, floor, finding, below=blurred)


def beyond(signature: Signature, scores: Rows, floor: Rows, finding: str, *, below: bool = False) -> Verdict:
    """It rings where the mean is further above the floor's (or below it) than `DEVIATIONS`."""
    deviation = max(float(np.std([*floor.values()], ddof=1)), signature.grain)
    sign = -1 if below else 1
    excess = sign * (_mean(scores) - _mean(floor)) / deviation - DEVIATIONS
    origin = f"the mean of {signature.reference} and {DEVIATIONS:g} of its deviations from clip to clip"
    return Verdict(excess, _mean(floor) + sign * DEVIATIONS * deviation, origin, finding)


def _mean(rows: Rows) -> float:
    return math.fsum(rows[clip] for clip in sorted(rows)) / len(rows)


SIGNATURES = (
    Signature(
        "lips_off", "mouth_correlation", against_chance, floor="mouth_correlation_shuffled", procedural=True, hears=True
    ),
    Signature("identity_drift", "identity_drift", _drift, grain=0.2, procedural=True),
    Signature("seams", "seam_ratio", _seams, grain=0.05),
    Signature("low_quality", "sharpness", _detail, grain=0.05),
)
