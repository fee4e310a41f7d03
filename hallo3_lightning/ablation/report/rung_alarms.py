"""Alarms that rang in training, and whether they still do."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from hallo3_lightning.ablation.report.training_curves import ALARM, Table


@dataclass(frozen=True)
class Ringing:
    """An alarm of a run: how often it was judged, when it rang, and by how much at last."""

    run: str
    arm: int
    alarm: str
    steps: tuple[int, ...]
    judged: int
    last_excess: float

    @property
    def is_still(self) -> bool:
        return self.last_excess > 0


def ringing(runs: Mapping[str, tuple[int, Table]]) -> list[Ringing]:
    """Every alarm that rang, run by run; runs: name -> (number of the arm, its table)."""
    return [
        Ringing(
            run=name,
            arm=arm,
            alarm=key.removeprefix(ALARM).replace("_", " "),
            steps=tuple(step for step, excess in points if excess > 0),
            judged=len(points),
            last_excess=points[-1][1],
        )
        for name, (arm, known) in runs.items()
        for key, points in known.items()
        if key.startswith(ALARM) and any(excess > 0 for _, excess in points)
    ]


def was_judged(runs: Sequence[Table]) -> bool:
    """Whether any run was looked at for alarms."""
    return any(key.startswith(ALARM) for known in runs for key in known)
