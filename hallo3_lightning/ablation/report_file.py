"""metrics.json and facts.json of a run as a comparison trusts them: every value of the kind that is read, or none at all."""

from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

from hallo3_lightning.evaluation.rows_file import LARGEST
from hallo3_lightning.strict_json import read_json

MOST_CLIPS = 1_000_000
"""Of a test: a larger count is no count."""

Kind = Callable[[Any], bool]


def mapping_of(file: Path) -> dict[str, Any] | None:
    """A file's JSON mapping; None where it is gone or holds none."""
    try:
        return dict(read_json(file, dict[str, Any]))
    except (FileNotFoundError, ValueError):
        return None


def facts_of(file: Path) -> dict[str, Any] | None:
    """What a run has trained, and for how long; None where the file is gone or damaged."""
    found = mapping_of(file)
    known = {"steps": _is_count, "seconds": _or_none(_is_number)}
    known |= dict.fromkeys(("trainable_parameters", "total_parameters"), _or_none(_is_count))
    return found if found is not None and _has(found, known, ["steps"]) else None


def own_report(file: Path) -> dict[str, Any] | None:
    """What a run's own test has written; None where it is gone or damaged."""
    summaries = _each(_summary_with(_is_number))
    return _report(
        file,
        {
            "metrics": summaries,
            "controls": _each(summaries),
            "rows": _each(_each(_each(_is_number))),
            "missing": _each(_each(_is_clip_count)),
            "protocol": _protocol_with("hash"),
        },
    )


def evaluation_report(file: Path) -> dict[str, Any] | None:
    """What an evaluation under a protocol has written; None where it is gone or damaged."""
    summaries = _each(_summary_with(_or_none(_is_number)))
    return _report(file, {"metrics": summaries, "protocol": _protocol_with("hash", "id")})


def _report(file: Path, needed: Mapping[str, Kind]) -> dict[str, Any] | None:
    found = mapping_of(file)
    optional = {"stamp": _or_none(_is_text), "curves": _is_mapping, "identities": _each(_is_text)}
    optional |= dict.fromkeys(("real", "fake"), _of({"folder": _is_text}, []))
    return found if found is not None and _has(found, {**optional, **needed}, needed) else None


def _summary_with(value: Kind) -> Kind:
    """Of one metric, or of one distance of sets."""
    kinds = {"value": value, "unit": _is_text, "higher_is_better": _or_none(_is_bool), "n": _is_clip_count}
    summary = _of(kinds, kinds)
    sets = _of({"n_real": _is_clip_count, "real": _of({"value": _or_none(_is_number)}, ["value"])}, ["real"])
    return lambda found: summary(found) and ("n_real" not in found or sets(found))


def _protocol_with(*needed: str) -> Kind:
    return _of({"hash": _is_text, "id": _is_text}, needed)


def _of(kinds: Mapping[str, Kind], needed: Iterable[str]) -> Kind:
    return lambda found: isinstance(found, dict) and _has(found, kinds, needed)


def _has(found: Mapping[str, Any], kinds: Mapping[str, Kind], needed: Iterable[str]) -> bool:
    """Whether what is needed is there, and what is there is of its kind."""
    return found.keys() >= {*needed} and all(kind(found[name]) for name, kind in kinds.items() if name in found)


def _each(kind: Kind) -> Kind:
    """Names, and values of one kind."""
    return lambda found: isinstance(found, dict) and all(_is_name(key) and kind(one) for key, one in found.items())


def _or_none(kind: Kind) -> Kind:
    return lambda found: found is None or kind(found)


def _is_text(value: Any) -> bool:
    return isinstance(value, str) and value.isprintable()


def _is_name(value: Any) -> bool:
    return _is_text(value) and value != ""


def _is_bool(value: Any) -> bool:
    return isinstance(value, bool)


def _is_mapping(value: Any) -> bool:
    return isinstance(value, dict)


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) <= LARGEST


def _is_count(value: Any) -> bool:
    return type(value) is int and 0 <= value <= LARGEST


def _is_clip_count(value: Any) -> bool:
    return type(value) is int and 0 <= value <= MOST_CLIPS
