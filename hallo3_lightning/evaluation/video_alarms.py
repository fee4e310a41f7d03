"""Alarms on videos that anybody made: what of `alarms` can be seen without the network that made them."""

import math
from collections.abc import Iterable, Mapping
from typing import Any

from hallo3_lightning.evaluation.alarms import Alarm, Signature, Verdict, against_chance, alarms, beyond, detail
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
    lost, usual = ({clip: -value for clip, value in rows.items()} for rows in (scores, floor))
    return beyond(signature, lost, usual, "faces leave their person", "{:.3f} of their likeness lost a second")


def _detail(signature: Signature, scores: Rows, floor: Rows) -> Verdict:
    """Against the clip's own true one: sharpness is a variance, of which a quarter is half the detail."""
    true = {clip: math.log2(max(value, TINY)) / 2 for clip, value in floor.items()}
    usual = math.fsum(true[clip] for clip in sorted(true)) / len(true)
    made = {clip: math.log2(max(value, TINY)) / 2 - usual for clip, value in scores.items()}
    return detail(signature, made, {clip: value - usual for clip, value in true.items()})


TINY = 1e-6
"""Of a picture without any detail, which has no logarithm."""

REAL = "the real clips"

SIGNATURES = (
    *(Signature("lips_off", name, against_chance, floor=f"{name}|{FLOOR}") for name in SYNC),
    Signature("identity_drift", "identity_drift/arcface", _drift, grain=0.02, reference=REAL),
    Signature("low_quality", "sharpness/laplacian", _detail, grain=0.1, reference=REAL),
)
