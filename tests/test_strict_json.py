"""JSON of the kinds that its reader counts on, and nothing else."""

import json
from typing import Any, Literal, NotRequired, TypedDict

import pytest

from hallo3_lightning.strict_json import is_a, read_json


class Page(TypedDict):
    name: str
    counts: dict[str, int]
    colour: NotRequired[Literal["red", "blue"]]


@pytest.mark.parametrize(
    ("value", "kind"),
    [
        (2, int),
        (2, float),
        (-0.5, float),
        (None, float | None),
        (True, bool),
        ([1, 2], list[int]),
        ({"a": {}}, dict[str, Any]),
        ({"name": "x", "counts": {"a": 1}}, Page),
        ({"name": "x", "counts": {}, "colour": "red", "more": [1]}, Page),
    ],
)
def test_values_of_a_kind_are_of_it(value, kind):
    assert is_a(json.loads(json.dumps(value)), kind)


@pytest.mark.parametrize(
    ("value", "kind"),
    [
        (True, int),
        (False, float),
        (2.0, int),
        ("2", float),
        ("a\0b", str),
        (None, float),
        (float("nan"), float),
        (float("inf"), float | None),
        (10**400, int),
        ([1, None], list[int]),
        ({"a": 1}, list[int]),
        ({"a": "1"}, dict[str, int]),
        ([], dict[str, int]),
        (["red"], Literal["red"]),
        ({"name": "x"}, Page),
        ({"name": 5, "counts": {}}, Page),
        ({"name": "x", "counts": {}, "colour": "green"}, Page),
        ([], Page),
    ],
)
def test_values_of_another_kind_are_not(value, kind):
    assert not is_a(value, kind)


@pytest.mark.parametrize("text", [b"", b"{", b"\xff\xfe", b"\0", b"[" * 100_000, b"5", b'{"a": NaN}', b'{"a": 1e999}'])
def test_a_file_of_anything_else_is_one_error(tmp_path, text):
    file = tmp_path / "page.json"
    file.write_bytes(text)
    with pytest.raises(ValueError, match=r"."):
        read_json(file, dict[str, float])


def test_a_folder_is_damage_and_no_file_is_none(tmp_path):
    (tmp_path / "page.json").mkdir()
    with pytest.raises(ValueError, match="is no file"):
        read_json(tmp_path / "page.json", dict[str, Any])
    with pytest.raises(FileNotFoundError):
        read_json(tmp_path / "none.json", dict[str, Any])
    (tmp_path / "good.json").write_text('{"a": 1}')
    assert read_json(tmp_path / "good.json", dict[str, float]) == {"a": 1}
