"""Strict YAML: what it refuses, each with one sentence, and what a plain value is."""

import datetime
import math

import pytest

from hallo3_lightning.errors import UsageError
from hallo3_lightning.strict_yaml import is_plain, read_strictly

BOMB = "\n".join(["a0: &a0 [x]", *(f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]" for n in range(1, 9))])


def test_plain_values_and_what_is_said_twice_by_an_alias(tmp_path):
    (tmp_path / "a.yaml").write_text("a: &one {b: [1, 2.5, null, true, ä]}\nc: *one\nd: {<<: *one, e: 'x'}\n", "utf-8")
    one = {"b": [1, 2.5, None, True, "ä"]}
    assert read_strictly(tmp_path / "a.yaml") == {"a": one, "c": one, "d": {**one, "e": "x"}}


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        (b"a: caf\xe9\n", r"is not text in UTF-8 \(byte 6\)"),
        (b"a: [\n", "is not YAML"),
        (b"a: 1\nb: 2\na: 3\n", "key 'a' is given twice.*line 3"),
        (b"a: {b: 1, b: 2}\n", "key 'b' is given twice"),
        (b"a: 2024-13-01\n", "is not YAML: month"),
        (b"a: !!binary aGVsbG8=\n", "tag '.*binary' is given; expected text, numbers"),
        (b"a: !!set {b}\n", "tag '.*set' is given"),
        (b"a: !!timestamp soon\n", "tag '.*timestamp' is given"),
        (b"a: !!bool maybe\n", "tag '.*bool' is given"),
        (b"a: &a {b: *a}\n", "a value contains itself"),
        (b"a: " + b"[" * 3000 + b"]" * 3000, "is nested too deeply"),
        (BOMB.encode(), "more than 100000 values"),
    ],
)
def test_what_means_more_than_one_thing_or_is_no_plain_value_is_refused(tmp_path, text, sentence):
    (tmp_path / "a.yaml").write_bytes(text)
    with pytest.raises(UsageError, match=sentence) as caught:
        read_strictly(tmp_path / "a.yaml")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "value", [math.nan, {1: "a"}, {"a": datetime.date(2024, 1, 1)}, [b"x"], {"a": {"b"}}, "\ud800", (1, 2)]
)
def test_what_json_does_not_give_back_is_not_plain(value):
    assert not is_plain(value)
    assert is_plain({"a": [1, 2.5, None, True, "ä"]})
