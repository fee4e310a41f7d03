"""Strict JSON: a file whose values are of the kinds that its reader counts on, or an error."""

import json
import sys
from collections.abc import Mapping
from pathlib import Path
from types import UnionType
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints, is_typeddict


def read_json(file: Path, kind: Any) -> Any:
    """What a file holds. Raises ValueError for one that is not JSON in UTF-8 with a value of that kind (see `is_a`), and
    FileNotFoundError where there is none."""
    try:
        value = json.loads(file.read_text(encoding="utf-8"))
    except RecursionError:
        raise ValueError(f"{file} is nested too deeply to be read") from None
    except (IsADirectoryError, NotADirectoryError):
        raise ValueError(f"{file} is no file, or is below one") from None
    if not is_a(value, kind):
        raise ValueError(f"{file} is not of the form that is written there")
    return value


def is_a(value: Any, kind: Any) -> bool:
    """Whether a value that JSON gave is of a kind, written as a type: dict[str, float], str | None, a TypedDict.

    Numbers are finite, true is no number, 2 is a float too, and no text holds NUL, which ends a path. A TypedDict may hold
    keys that it does not name.
    """
    parts = get_args(kind)
    if kind is Any:
        return True
    if is_typeddict(kind):
        return isinstance(value, dict) and _holds(value, kind)
    match get_origin(kind):
        case None:
            return _is_alone(value, kind)
        case origin if origin in (Union, UnionType):
            return any(is_a(value, part) for part in parts)
        case origin if origin is Literal:
            return isinstance(value, str) and value in parts
        case origin if origin is list:
            return isinstance(value, list) and all(is_a(item, parts[0]) for item in value)
        case origin:
            assert origin is dict, f"no JSON is read as {kind}"
            return isinstance(value, dict) and all(is_a(item, parts[1]) for item in value.values())


def _is_alone(value: Any, kind: type) -> bool:
    if kind in (int, float):
        return _is_number(value) and (kind is float or isinstance(value, int))
    return isinstance(value, kind) and not (isinstance(value, str) and "\0" in value)


def _is_number(value: Any) -> bool:
    """Finite; whole numbers that no float can hold are none either: whoever divides by them would learn it."""
    number = isinstance(value, int | float) and not isinstance(value, bool)
    return number and -sys.float_info.max <= value <= sys.float_info.max


def _holds(value: Mapping[str, Any], kind: Any) -> bool:
    required = kind.__required_keys__
    hints = get_type_hints(kind)
    return required <= value.keys() and all(is_a(value[key], hints[key]) for key in hints if key in value)
