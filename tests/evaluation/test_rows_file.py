"""rows.jsonl: what is written is what is read, and nothing is lost on the way."""

import pytest

from hallo3_lightning.errors import UsageError
from hallo3_lightning.evaluation.rows_file import conditions_of, lines_of, read

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
            conditions_of(own, ["a"])
    with pytest.raises(UsageError, match="there is no"):
        conditions_of(tmp_path / "none.jsonl", ["a"])


def test_conditions_of_a_users_file_are_those_of_its_clips(tmp_path):
    own = tmp_path / "own.jsonl"
    own.write_text('{"clip": "a", "yaw": -3, "loudness": 0.5}\n{"clip": "b", "yaw": 7.5, "loudness": null}\n')
    assert conditions_of(own, ["b", "c"]) == {"yaw": {"a": -3.0, "b": 7.5}, "loudness": {"a": 0.5}}
    with pytest.raises(UsageError, match="knows none of the clips; the rows are of c"):
        conditions_of(own, ["c"])
