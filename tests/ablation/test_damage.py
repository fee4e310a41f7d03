"""Damaged files of a run: the run is missing with its reason, and the others are compared."""

import json
import shutil
from pathlib import Path

import pytest
from evaluated import grid
from finished import finished_grid

from hallo3_lightning.ablation.grid import read
from hallo3_lightning.ablation.places import places
from hallo3_lightning.ablation.report.origins import origins
from hallo3_lightning.ablation.report_file import evaluation_report, facts_of, own_report
from hallo3_lightning.ablation.results import collect

DEEP = "[" * 100_000


@pytest.fixture(scope="module")
def finished(tmp_path_factory) -> tuple[Path, Path]:
    """Read only."""
    return finished_grid(tmp_path_factory.mktemp("finished"))


@pytest.fixture
def file(tmp_path, finished) -> Path:
    """A copy of a whole metrics.json to damage."""
    shutil.copy(finished[1] / "ways" / "a-seed1-00000000" / "metrics.json", tmp_path)
    assert own_report(tmp_path / "metrics.json") is not None
    return tmp_path / "metrics.json"


def damage(file: Path, path: str, value: object) -> None:
    page = json.loads(file.read_text())
    *parents, last = path.split(".")
    part = page
    for key in parents:
        part = part[key]
    part[last] = value
    file.write_text(json.dumps(page))


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("protocol", ["hash"]),
        *(("protocol.hash", value) for value in (5, [1], None, "two\nlines")),
        ("protocol.id", [1]),
        *(("stamp", value) for value in (["x"], {"x": 1}, 5)),
        *(("missing", {"generated": {"psnr": value}}) for value in (1e9, 10**9, -5, 1.5, True, "1")),
        *(("rows.generated.psnr", {"clip-0": value}) for value in (1e308, float("nan"), "12", True, None)),
        *(("rows.generated", value) for value in ([1], {"psnr": [1]}, {"": {}})),
        *(("metrics.psnr.value", value) for value in ("12", True, None, 1e308)),
        *(("metrics.psnr.n", value) for value in (-1, "6", 1e308)),
        ("metrics.psnr.unit", 3),
        ("metrics.psnr.higher_is_better", "yes"),
        ("metrics.psnr.n_real", 5),
        ("controls", None),
        ("curves", [1]),
        *(("identities", value) for value in (["anna"], {"clip-0": 5}, {"clip-0": "two\nlines"})),
    ],
)
def test_a_value_of_another_kind_is_damage(file, path, value):
    damage(file, path, value)
    assert own_report(file) is None


@pytest.mark.parametrize("raw", [b"\0\0", b"\xff\xfe", DEEP.encode(), b"", b"[]"])
@pytest.mark.parametrize("reader", [own_report, evaluation_report, facts_of])
def test_what_is_no_mapping_is_damage(tmp_path, reader, raw):
    (tmp_path / "page.json").write_bytes(raw)
    assert reader(tmp_path / "page.json") is None
    assert reader(tmp_path) is None, "a folder"


@pytest.mark.parametrize(
    ("name", "value"), [("steps", "700"), ("steps", None), ("seconds", [1]), ("seconds", float("nan")), ("total_parameters", 1.5)]
)  # fmt: skip
def test_facts_are_numbers(tmp_path, name, value):
    (tmp_path / "facts.json").write_text(json.dumps({"steps": 9, "seconds": None}))
    assert facts_of(tmp_path / "facts.json") == {"steps": 9, "seconds": None}
    (tmp_path / "facts.json").write_text(json.dumps({"steps": 9, name: value}))
    assert facts_of(tmp_path / "facts.json") is None


@pytest.mark.parametrize("config", ["- 1", "", "{", DEEP[:3000]])
def test_a_damaged_config_takes_out_its_run_alone(tmp_path, finished, config):
    root = shutil.copytree(finished[1], tmp_path / "runs")
    (root / "ways" / "a-seed1-00000000" / "config.yaml").write_text(config)
    results, missing = collect(read(finished[0]), root)
    assert len(results) == 5
    assert "config.yaml" in missing["a-seed1"]
    assert missing["a-seed1"].endswith("remove the run's folder to run it again")


@pytest.mark.parametrize("raw", [b"\xff", b'{"clip": "a", "metric": [1]}', None])
def test_damaged_rows_take_out_their_evaluation_alone(tmp_path, raw):
    file, root, protocol = grid(tmp_path, {"a": 3.0, "b": 4.0}, {"a": 0.0, "b": 0.1}, seeds=1)
    rows = root / "asked" / "a-seed0-00000000" / "evaluation" / "seen" / "rows.jsonl"
    rows.unlink() if raw is None else rows.write_bytes(raw)
    results, missing = collect(read(file), root, protocol)
    assert [result.name for result in results] == ["b-seed0"]
    assert "rows.jsonl" in missing["a-seed0"]
    assert "does it anew" in missing["a-seed0"]


@pytest.mark.parametrize("raw", ['{"code": "x", "versions": [1], "data": 5}', DEEP, "[]"])
def test_a_damaged_provenance_is_unknown(tmp_path, finished, raw):
    root = shutil.copytree(finished[1], tmp_path / "runs")
    for place in places(read(finished[0]), root):
        assert place.folder is not None
        (place.folder.path / "provenance.json").write_text(raw)
    found = {origin.what: origin.value for origin in origins(collect(read(finished[0]), root)[0])}
    assert (found["commit"], found["data"]) == ("unknown", "unknown")
