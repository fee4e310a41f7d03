"""rows.jsonl: what is written is what is read, and nothing is lost on the way."""

import json
import math

import pytest

from hallo3_lightning.errors import UsageError
from hallo3_lightning.evaluation.rows_file import known_of, lines_of, read

REPORT = {
    "protocol": {"id": "tiny-v1", "hash": "d89fc254"},
    "metrics": {"psnr": {"unit": "dB", "higher_is_better": True}},
    "controls": {"reconstruction": {"psnr": {"unit": "dB", "higher_is_better": True}}},
    "rows": {"generated": {"psnr": {"a": 20.5, "b": 21.0}, "seam": {}}, "reconstruction": {"psnr": {"a": 30.0}}},
}


def test_a_report_comes_back_whole(tmp_path):
    conditions = {"yaw": {"a": 3.0, "c": -40.0}, "length": {"a": 1.28, "b": 1.28, "c": 1.28}}
    (tmp_path / "rows.jsonl").write_text("\n".join(lines_of(REPORT, conditions)))
    found = read(tmp_path)
    assert found.conditions == conditions
    assert found.clips == ["a", "b", "c"]
    assert [*found.stamps] == ["protocol tiny-v1 d89fc254"]
    psnr = found.metrics["generated", "psnr"]
    assert (psnr.scores, psnr.unit, psnr.higher_is_better) == ({"a": 20.5, "b": 21.0}, "dB", True)
    assert psnr.unscored == {"c": "no score"}
    assert found.metrics["generated", "seam"].unscored == dict.fromkeys("abc", "no score")
    assert found.metrics["reconstruction", "psnr"].scores == {"a": 30.0}


def test_lengths_come_with_the_frames_of_a_row(tmp_path):
    (tmp_path / "rows.jsonl").write_text('{"clip": "a", "metric": "sync_c/valid", "value": 3.5, "frames": 50}\n')
    assert read(tmp_path / "rows.jsonl").conditions == {"length": {"a": 2.0}}


GOOD = {"clip": "a", "metric": "psnr", "value": 1, "frames": 0, "unit": None, "higher_is_better": None, "stamp": None}


@pytest.mark.parametrize(
    ("key", "value"),
    [
        *((key, value) for key in ("metric", "source", "unit", "status", "protocol", "protocol_hash", "stamp")
          for value in ([1], 5, {}, "two\nlines", "\ud800", "\0")),
        *(("metric", value) for value in (None, "")),
        *(("value", value) for value in (True, "3", [1], math.nan, -math.inf, 1e308, 10**400)),
        *(("frames", value) for value in (-5, 2.5, True, "a", 10**400)),
        *(("higher_is_better", value) for value in ("yes", 1, [])),
        *(("conditions", value) for value in (None, [1], "yaw")),
        *(("conditions", {"yaw": value}) for value in (math.inf, 10**400, "left", False)),
    ],
)  # fmt: skip
def test_what_a_field_is_and_should_be_is_said(tmp_path, key, value):
    (tmp_path / "rows.jsonl").write_text(json.dumps(GOOD))
    assert read(tmp_path).metrics["generated", "psnr"].scores == {"a": 1}
    (tmp_path / "rows.jsonl").write_text(json.dumps({**GOOD, key: value}))
    named = [*value][0] if isinstance(value, dict) and value else key
    with pytest.raises(UsageError, match=rf"line 1: {named} is .*; expected ") as caught:
        read(tmp_path)
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 300


@pytest.mark.parametrize(
    "name", ["../../evil", "/evil", "a\\b", "..", "", "a\0b", "a\nb", "a" * 101, "ä" * 51, "\ud800"]
)
def test_a_condition_whose_name_cannot_be_part_of_a_files_is_refused(tmp_path, name):
    (tmp_path / "rows.jsonl").write_text(json.dumps({"clip": "a", "conditions": {name: 3}}))
    own = tmp_path / "own.jsonl"
    own.write_text(json.dumps({"clip": "a", name: 3}))
    for reading in (lambda: read(tmp_path), lambda: known_of(own, ["a"])):
        with pytest.raises(UsageError, match="line 1: .* is no name of a condition"):
            reading()


@pytest.mark.parametrize(
    ("raw", "sentence"),
    [
        (b"\xff\xfe\x80", r"is not text in UTF-8 \(byte 0\)"),
        (b"\0" * 9, "line 1 is no row"),
        (b"[" * 100_000, "line 1 is no row"),
        (b'{"clip": "\\udc80"}', "line 1 is no row"),
        (b'{"clip": "a", "value": ' + b"1" * 5000 + b"}", "line 1 is no row"),
    ],
)
def test_a_file_of_something_else_is_refused(tmp_path, raw, sentence):
    (tmp_path / "rows.jsonl").write_bytes(raw)
    with pytest.raises(UsageError, match=sentence):
        read(tmp_path)


def test_a_clip_may_be_named_with_what_ends_a_line_elsewhere(tmp_path):
    line = json.dumps({"clip": "a\u2028b\x85", "metric": "psnr", "value": 1}, ensure_ascii=False)
    (tmp_path / "rows.jsonl").write_text(f"{line}\n{line}\n", encoding="utf-8")
    assert read(tmp_path).clips == ["a\u2028b\x85"]


@pytest.mark.parametrize(
    "line", ["nonsense", "[1]", '{"metric": "psnr"}', '{"clip": "a", "value": "3"}', '{"clip": "a", "conditions": 5}']
)
def test_a_line_that_is_none_is_named(tmp_path, line):
    (tmp_path / "rows.jsonl").write_text('{"clip": "a"}\n' + line)
    with pytest.raises(UsageError, match="line 2"):
        read(tmp_path)


def test_a_users_file_with_a_wrong_line_is_named(tmp_path):
    own = tmp_path / "own.jsonl"
    for line in ('{"yaw": 3}', '{"clip": "a", "yaw": "left"}', '{"clip"'):
        own.write_text(f"\n{line}\n")
        with pytest.raises(UsageError, match="own.jsonl, line 2"):
            known_of(own, ["a"])
    with pytest.raises(UsageError, match="there is no"):
        known_of(tmp_path / "none.jsonl", ["a"])


def test_known_of_a_users_file_are_those_of_its_clips(tmp_path):
    own = tmp_path / "own.jsonl"
    own.write_text('{"clip": "a", "yaw": -3, "loudness": 0.5}\n{"clip": "b", "yaw": 7.5, "loudness": null}\n')
    assert known_of(own, ["b", "c"]).conditions == {"yaw": {"a": -3.0, "b": 7.5}, "loudness": {"a": 0.5}}
    with pytest.raises(UsageError, match="knows none of the clips; the rows are of c"):
        known_of(own, ["c"])
