"""rows.jsonl: one score of one clip a line, and what is known of the clip; whatever else is asked is made of these.

{"clip": ..., "conditions": {"yaw": degrees, ...}}
{"clip": ..., "source": "generated", "metric": ..., "value": number or null, "status": "scored" or why not,
 "unit": ..., "higher_is_better": ..., "frames": of the clip, where they are known,
     "protocol": ..., "protocol_hash": ..., "stamp": where the numbers are no scores}
"""

import json
import math
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from hallo3_lightning.errors import UsageError
from hallo3_lightning.geometry import FPS

NAME = "rows.jsonl"
CONDITIONS = "conditions.jsonl"
"""In a folder of true videos: what is known of them, one line a clip, {"clip": "a", "yaw": 12.5, ...}; the clip is the
video's path under the folder without its ending."""

SCORED, UNSCORED = "scored", "no score"
GENERATED = "generated"


@dataclass(frozen=True)
class Metric:
    """Scores of one metric from one source; clips without a score have a status instead."""

    name: str
    source: str
    unit: str = ""
    higher_is_better: bool | None = None
    scores: dict[str, float] = field(default_factory=dict)
    unscored: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Scored:
    """A file's contents: metrics by (source, name), conditions as condition -> clip -> value."""

    metrics: dict[tuple[str, str], Metric] = field(default_factory=dict)
    conditions: dict[str, dict[str, float]] = field(default_factory=dict)
    stamps: dict[str, None] = field(default_factory=dict)
    """What stands on every table and picture made of it, in order: protocols with their hash, and warnings."""

    @property
    def clips(self) -> list[str]:
        """All that are named, scored or not."""
        named = list(self.conditions.values())
        told = [clips for metric in self.metrics.values() for clips in (metric.scores, metric.unscored)]
        return sorted({clip for clips in [*named, *told] for clip in clips})


def lines_of(report: Mapping[str, Any], conditions: Mapping[str, Mapping[str, float]]) -> Iterator[str]:
    """The lines of a test; arguments as `rows_of`."""
    yield from map(json.dumps, rows_of(report, conditions))


def rows_of(report: Mapping[str, Any], conditions: Mapping[str, Mapping[str, float]]) -> Iterator[dict[str, Any]]:
    """The rows of a test: `report` as Evaluation.report gives it, conditions as condition -> clip -> value."""
    clips = sorted({clip for known in [*conditions.values(), *_rows(report)] for clip in known})
    for clip in clips:
        known = {name: values[clip] for name, values in conditions.items() if clip in values}
        yield {"clip": clip, "conditions": known}
    protocol = report["protocol"]
    under = {"protocol": protocol["id"], "protocol_hash": protocol["hash"]}
    for source, metrics in report["rows"].items():
        about = report["metrics"] if source == GENERATED else report["controls"].get(source, {})
        for name, scores in metrics.items():
            what = {key: about.get(name, {}).get(key) for key in ("unit", "higher_is_better")}
            for clip in clips:
                value = scores.get(clip)
                status = UNSCORED if value is None else SCORED
                row = {"clip": clip, "source": source, "metric": name, "value": value, "status": status}
                yield {**row, **what, **under}


def _rows(report: Mapping[str, Any]) -> list[Mapping[str, float]]:
    return [scores for metrics in report["rows"].values() for scores in metrics.values()]


def read(path: Path) -> Scored:
    """The rows of a file, or of a folder that holds one. Raises UsageError that names the line that is none."""
    file = path / NAME if path.is_dir() else path
    if not file.is_file():
        raise UsageError(
            f"there is no {file}; give a {NAME}, or the folder of a run after `hallo3 test` or of `hallo3 evaluate`"
        )
    found = Scored()
    for row, where in _parsed(file):
        _take(found, row, where)
    return found


def conditions_of(path: Path, clips: Collection[str]) -> dict[str, dict[str, float]]:
    """Condition -> clip -> value from a file of one line a clip: {"clip": "a", "yaw": 12.5, ...}.

    Raises UsageError where it names none of the clips.
    """
    if not path.is_file():
        raise UsageError(f'there is no {path}; expected a file of lines like {{"clip": "a", "yaw": 12.5}}')
    given = Scored()
    for row, where in _parsed(path):
        _take(given, {"clip": row["clip"], "conditions": {k: v for k, v in row.items() if k != "clip"}}, where)
    named = {clip for values in given.conditions.values() for clip in values}
    if not named & set(clips):
        raise UsageError(
            f"{path} knows none of the clips; the rows are of {', '.join(sorted(clips)[:3])}, ..., "
            f"the file of {', '.join(sorted(named)[:3]) or 'none'}"
        )
    return given.conditions


def _parsed(file: Path) -> Iterator[tuple[Mapping[str, Any], str]]:
    """Each line's object and where it stands. Raises UsageError for a line that is none of a clip."""
    for number, line in enumerate(file.read_text().splitlines(), start=1):
        if not line.strip():
            continue
        where = f"{file}, line {number}"
        try:
            row = json.loads(line)
        except ValueError:
            row = None
        if not isinstance(row, dict) or not isinstance(row.get("clip"), str):
            raise UsageError(f'{where} is no row; expected one JSON object with a "clip"')
        yield row, where


def _take(found: Scored, row: Mapping[str, Any], where: str) -> None:
    clip, conditions = row["clip"], row.get("conditions", {})
    if not isinstance(conditions, dict):
        raise UsageError(f"{where}: conditions of '{clip}' are {conditions!r}; expected names and numbers")
    if row.get("frames"):
        found.conditions.setdefault("length", {}).setdefault(clip, _number(row, "frames", where) / FPS)
    for name, value in conditions.items():
        if value is not None:
            found.conditions.setdefault(name, {})[clip] = _number(conditions, name, where)
    value = None if row.get("value") is None else _number(row, "value", where)
    if "metric" not in row:
        return
    protocol = f"protocol {row['protocol']} {row.get('protocol_hash', '')}".strip() if "protocol" in row else None
    found.stamps.update(dict.fromkeys(stamp for stamp in (row.get("stamp"), protocol) if stamp))
    source, name = row.get("source", GENERATED), row["metric"]
    fresh = Metric(name, source, row.get("unit") or "", row.get("higher_is_better"))
    metric = found.metrics.setdefault((source, name), fresh)
    if value is None:
        metric.unscored[clip] = row.get("status") or UNSCORED
    else:
        metric.scores[clip] = value


def _number(row: Mapping[str, Any], name: str, where: str) -> float:
    value = row[name]
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise UsageError(f"{where}: {name} is {value!r}; expected a number")
    return float(value)
