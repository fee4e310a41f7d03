"""Told: what is known of clips beside what their videos say, by whoever made them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from hallo3_lightning.evaluation.alarms import Alarm


@dataclass(frozen=True)
class Told:
    """Of the clips of a run; nothing of videos that somebody brings."""

    generation: Mapping[str, Any] = field(default_factory=dict)
    """How they were made."""
    metrics: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    """Scores against the ground truth, with their controls."""
    rows: Sequence[Mapping[str, Any]] = ()
    """One a metric, source and clip, and one of conditions a clip (rows_file.py)."""
    curves: Mapping[str, Mapping[str, Sequence[float]]] = field(default_factory=dict)
    """Clip -> measured opening of the mouth and true aperture, by frame."""
    borders: Sequence[int] = ()
    """First frame of every window after the first."""
    alarms: Sequence[Alarm] = ()
    notes: Sequence[str] = ()
