"""rows.jsonl: one score of one clip a line, and what is known of the clip; whatever else is asked is made of these.

{"clip": ..., "identity": who it shows, where that is known, "conditions": {"yaw": degrees, ...}}
{"clip": ..., "source": "generated", "metric": ..., "value": number or null, "status": "scored" or why not,
 "unit": ..., "higher_is_better": true, false or null, "frames": of the clip, where they are known,
     "protocol": ..., "protocol_hash": ..., "stamp": where the numbers are no scores}
"""

import json
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from hallo3_lightning.errors import UsageError
from hallo3_lightning.geometry import FPS

NAME = "rows.jsonl"
CONDITIONS = "conditions.jsonl"
"""In a folder of true videos: what is known of them, one line a clip, {"clip": "a", "identity": "anna", "yaw": 12.5, ...};
the clip is the video's path under the folder without its ending, and takes of one person have one identity."""

SCORED, UNSCORED = "scored", "no score"
GENERATED = "generated"

LARGEST = 1e100
"""Of any number: statistics take squares and sum them, which must give numbers too."""

NAME_BYTES = 100
"""Of a condition's name, which becomes part of a file's."""


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
    """A file's contents: metrics by (source, name), conditions as condition -> clip -> value, clip -> identity."""

    metrics: dict[tuple[str, str], Metric] = field(default_factory=dict)
    conditions: dict[str, dict[str, float]] = field(default_factory=dict)
    identities: dict[str, str] = field(default_factory=dict)
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
    """The rows of a test: `report` as Evaluation.report gives it, perhaps with the identities of clips; conditions as
    condition -> clip -> value."""
    identities = report.get("identities", {})
    clips = sorted({clip for known in [*conditions.values(), *_rows(report)] for clip in known})
    for clip in clips:
        known = {name: values[clip] for name, values in conditions.items() if clip in values}
        who = {"identity": identities[clip]} if clip in identities else {}
        yield {"clip": clip, **who, "conditions": known}
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


def known_of(path: Path, clips: Collection[str]) -> Scored:
    """Conditions and identities from a file of one line a clip: {"clip": "a", "identity": "anna", "yaw": 12.5, ...}.

    Raises UsageError where it names none of the clips.
    """
    if not path.is_file():
        raise UsageError(f'there is no {path}; expected a file of lines like {{"clip": "a", "yaw": 12.5}}')
    given = Scored()
    for row, where in _parsed(path):
        _take_identity(given, row, where)
        conditions = {name: value for name, value in row.items() if name not in ("clip", "identity")}
        _take_conditions(given, row["clip"], conditions, where)
    named = {*given.identities, *(clip for values in given.conditions.values() for clip in values)}
    if not named & set(clips):
        raise UsageError(
            f"{path} knows none of the clips; the rows are of {', '.join(sorted(clips)[:3])}, ..., "
            f"the file of {', '.join(sorted(named)[:3]) or 'none'}"
        )
    return given


def is_writable(text: str) -> bool:
    """Whether a file in UTF-8 can hold it: names of files and JSON may have halves of characters."""
    return text == text.encode("utf-8", "replace").decode()


def _parsed(file: Path) -> Iterator[tuple[Mapping[str, Any], str]]:
    """Each line's object and where it stands. Raises UsageError for a line that is none of a clip."""
    try:
        lines = file.read_text(encoding="utf-8").split("\n")  # splitlines would part names that hold a U+2028
    except UnicodeDecodeError as error:
        raise UsageError(f"{file} is not text in UTF-8 (byte {error.start}); save it as UTF-8") from None
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        where = f"{file}, line {number}"
        try:
            row = json.loads(line)
        except (ValueError, RecursionError):
            row = None
        clip = row.get("clip") if isinstance(row, dict) else None
        if not isinstance(clip, str) or not is_writable(clip):
            raise UsageError(f'{where} is no row; expected one JSON object with a "clip"')
        yield row, where


def _take(found: Scored, row: Mapping[str, Any], where: str) -> None:
    clip, conditions = row["clip"], row.get("conditions", {})
    if not isinstance(conditions, dict):
        raise _wrong(row, "conditions", where, "names and numbers")
    if row.get("frames") is not None and not (type(row["frames"]) is int and 0 <= row["frames"] <= LARGEST):
        raise _wrong(row, "frames", where, "a whole number from 0 on")
    if row.get("frames"):
        found.conditions.setdefault("length", {}).setdefault(clip, row["frames"] / FPS)
    _take_identity(found, row, where)
    _take_conditions(found, clip, conditions, where)
    value = None if row.get("value") is None else _number(row, "value", where)
    if "metric" in row:
        _take_score(found, row, value, where)


def _take_identity(found: Scored, row: Mapping[str, Any], where: str) -> None:
    who = _text(row, "identity", where)
    if who:
        found.identities[row["clip"]] = who


def _take_conditions(found: Scored, clip: str, conditions: Mapping[str, Any], where: str) -> None:
    for name, value in conditions.items():
        if not _is_condition(name):
            raise UsageError(
                f"{where}: {name!r:.80} is no name of a condition; expected one line of up to {NAME_BYTES} bytes, without "
                "/ or \\ and with no dot in front, as yaw"
            )
        if value is not None:
            found.conditions.setdefault(name, {})[clip] = _number(conditions, name, where)


def _take_score(found: Scored, row: Mapping[str, Any], value: float | None, where: str) -> None:
    told = {key: _text(row, key, where) for key in ("stamp", "protocol", "protocol_hash", "unit", "status")}
    protocol = f"protocol {told['protocol']} {told['protocol_hash']}".strip() if told["protocol"] else ""
    found.stamps.update(dict.fromkeys(stamp for stamp in (told["stamp"], protocol) if stamp))
    name, source = _text(row, "metric", where), _text(row, "source", where) or GENERATED
    if not name:
        raise _wrong(row, "metric", where, "its name")
    higher = row.get("higher_is_better")
    if higher is not None and not isinstance(higher, bool):
        raise _wrong(row, "higher_is_better", where, "true, false or null")
    metric = found.metrics.setdefault((source, name), Metric(name, source, told["unit"], higher))
    if value is None:
        metric.unscored[row["clip"]] = told["status"] or UNSCORED
    else:
        metric.scores[row["clip"]] = value


def _is_condition(name: str) -> bool:
    """Whether it can be part of a file's name, and names no other folder."""
    return name.isprintable() and 0 < len(name.encode()) <= NAME_BYTES and name[0] != "." and not {*"/\\"} & {*name}


def _text(row: Mapping[str, Any], name: str, where: str) -> str:
    """Of one line; "" where there is none."""
    value = row.get(name)
    if value is not None and not (isinstance(value, str) and value.isprintable()):
        raise _wrong(row, name, where, "a line of text")
    return value or ""


def _number(row: Mapping[str, Any], name: str, where: str) -> float:
    value = row[name]
    if isinstance(value, bool) or not isinstance(value, int | float) or not abs(value) <= LARGEST:
        raise _wrong(row, name, where, f"a number, no larger than {LARGEST:g}")
    return float(value)


def _wrong(row: Mapping[str, Any], name: str, where: str, expected: str) -> UsageError:
    return UsageError(f"{where}: {name} is {row[name]!r:.80}; expected {expected}")
