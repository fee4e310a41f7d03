"""Alarms: the ways in which a talking head goes wrong, each with a threshold from its own floor.

The floor of the lips is what chance gives: mouths against the sound of other clips. That of everything else is what the
autoencoder alone makes of the true video, which no network behind it can be blamed for.
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np

from hallo3_lightning.evaluation.statistics import Rows, paired

DEVIATIONS = 2.0
"""How far from its floor's mean a mean may lie, in deviations of the floor from clip to clip."""

FEWEST = 4
"""Clips under which nothing is said."""


@dataclass(frozen=True)
class Alarm:
    """excess: how far beyond the threshold, in deviations of the floor (standard errors for lips); it rings above 0."""

    name: str
    excess: float
    sentence: str

    @property
    def rings(self) -> bool:
        return self.excess > 0


@dataclass(frozen=True)
class Signature:
    """What a failure is seen by.

    floor: a metric of the same clips, or "" for the same metric of the reconstruction; grain: the least deviation of a
    floor that is taken seriously, in units of the metric; procedural: measured on drawn heads only;
    hears: of networks that hear something.
    """

    name: str
    metric: str
    judge: Callable[["Signature", Rows, Rows], tuple[float, str]]
    floor: str = ""
    grain: float = 0.0
    procedural: bool = False
    hears: bool = False


def alarms(generated: Mapping[str, Rows], reconstruction: Mapping[str, Rows]) -> list[Alarm]:
    """Every alarm that enough clips have scores for: metric -> clip -> score of what was generated, and of the floor."""
    found = []
    for signature in SIGNATURES:
        scores = generated.get(signature.metric, {})
        floor = (generated if signature.floor else reconstruction).get(signature.floor or signature.metric, {})
        shared = scores.keys() & floor.keys()
        if len(shared) >= FEWEST:
            excess, sentence = signature.judge(
                signature, {clip: scores[clip] for clip in shared}, {clip: floor[clip] for clip in shared}
            )
            found.append(Alarm(signature.name, excess, f"{signature.name.replace('_', ' ')}: {sentence}"))
    return found


def _chance(signature: Signature, scores: Rows, floor: Rows) -> tuple[float, str]:
    """It rings unless the scores are above those of chance for sure."""
    gain = paired([scores], [floor])
    sentence = (
        f"mouths follow their own sound little better than that of other clips (correlation {_mean(scores):.2f}, by "
        f"chance {_mean(floor):.2f}, {gain.clips} clips)"
    )
    if not gain.std_error:
        return (-1.0 if gain.mean > 0 else 1.0), sentence
    return -gain.low / gain.std_error, sentence


def _drift(signature: Signature, scores: Rows, floor: Rows) -> tuple[float, str]:
    return _above(signature, scores, floor), (
        f"faces leave their person by {_mean(scores):.1f} deviations a second "
        f"({_mean(floor):.1f} in the reconstruction, {len(scores)} clips)"
    )


def _seams(signature: Signature, scores: Rows, floor: Rows) -> tuple[float, str]:
    return _above(signature, scores, floor), (
        f"motion jumps {_mean(scores):.1f} times as much where windows meet as elsewhere "
        f"({_mean(floor):.1f} times in the reconstruction, {len(scores)} clips)"
    )


def _detail(signature: Signature, scores: Rows, floor: Rows) -> tuple[float, str]:
    """Both ways: less detail than the autoencoder leaves is blur, more is noise."""
    blurred = _mean(scores) < _mean(floor)
    both = [scores, floor] if not blurred else [{clip: -v for clip, v in rows.items()} for rows in (scores, floor)]
    return _above(signature, *both), (
        f"pictures are {'blurred' if blurred else 'noisy'}: {2 ** _mean(scores):.2f} times the truth's fine detail "
        f"({2 ** _mean(floor):.2f} times in the reconstruction, {len(scores)} clips)"
    )


def _above(signature: Signature, scores: Rows, floor: Rows) -> float:
    deviation = max(float(np.std([*floor.values()], ddof=1)), signature.grain)
    return (_mean(scores) - _mean(floor)) / deviation - DEVIATIONS


def _mean(rows: Rows) -> float:
    return math.fsum(rows.values()) / len(rows)


SIGNATURES = (
    Signature(
        "lips_off", "mouth_correlation", _chance, floor="mouth_correlation_shuffled", procedural=True, hears=True
    ),
    Signature("identity_drift", "identity_drift", _drift, grain=0.2, procedural=True),
    Signature("seams", "seam_ratio", _seams, grain=0.05),
    Signature("low_quality", "sharpness", _detail, grain=0.05),
)
