"""Alarms on videos that anybody made: what of `alarms` can be seen without the network that made them."""

import math
from collections.abc import Iterable, Mapping
from typing import Any

from hallo3_lightning.evaluation.alarms import Alarm, Signature, Verdict, against_chance, alarms, beyond
from hallo3_lightning.evaluation.rows_file import GENERATED
from hallo3_lightning.evaluation.statistics import Rows

FLOOR = "floor"
"""Source of rows, and ending of metrics, that chance makes of the same clips."""

SYNC = ("sync_c/valid", "sync_c/joonson")


def alarms_of_videos(rows: Iterable[Mapping[str, Any]]) -> list[Alarm]:
    """Every alarm that the rows of an evaluation (rows_file.py) have enough clips for."""
    scores: dict[str, dict[str, dict[str, float]]] = {}
    for row in rows:
        if row.get("value") is not None:
            scores.setdefault(row["source"], {}).setdefault(row["metric"], {})[row["clip"]] = row["value"]
    chance = {f"{name}|{FLOOR}": clips for name, clips in scores.get(FLOOR, {}).items()}
    found = alarms(scores.get(GENERATED, {}) | chance, scores.get("real", {}), SIGNATURES)
    return list({alarm.name: alarm for alarm in reversed(found)}.values())[::-1]  # one for the lips, the first


def _drift(signature: Signature, scores: Rows, floor: Rows) -> Verdict:
    lost, usual = (-math.fsum(rows[clip] for clip in sorted(rows)) / len(rows) for rows in (scores, floor))
    return beyond(
        signature,
        {clip: -value for clip, value in scores.items()},
        {clip: -value for clip, value in floor.items()},
        f"faces lose {lost:.2f} a second of their likeness to the first one ({usual:.2f} in {signature.reference}, "
        f"{len(scores)} clips)",
    )


def _detail(signature: Signature, scores: Rows, floor: Rows) -> Verdict:
    """In doublings, since sharpness is a variance: half of it is as far from the truth as twice."""
    made, true = ({clip: math.log2(max(value, TINY)) for clip, value in rows.items()} for rows in (scores, floor))
    change = math.fsum(made[clip] - true[clip] for clip in sorted(made)) / len(made)
    finding = (
        f"pictures are {'blurred' if change < 0 else 'noisy'}: {2**change:.2f} times the sharpness of "
        f"{signature.reference} ({len(scores)} clips; the threshold is in doublings)"
    )
    return beyond(signature, made, true, finding, below=change < 0)


TINY = 1e-6
"""Of a picture without any detail, which has no logarithm."""

REAL = "the real clips"

SIGNATURES = (
    *(Signature("lips_off", name, against_chance, floor=f"{name}|{FLOOR}") for name in SYNC),
    Signature("identity_drift", "identity_drift/arcface", _drift, grain=0.02, reference=REAL),
    Signature("low_quality", "sharpness/laplacian", _detail, grain=0.1, reference=REAL),
)
