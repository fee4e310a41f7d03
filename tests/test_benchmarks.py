"""Every benchmark takes --json FILE and writes its headline figure there under "ratio"."""

import importlib
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
SCRIPTS = sorted((ROOT / "benchmarks").glob("*.py"))
SMALL = {
    "block.py": ["--width", "64", "--rounds", "2"],
    "crash.py": ["--times", "3", "--steps", "6"],
    "loader.py": ["--samples", "40", "--rounds", "2", "--steady", "400"],
    "precision.py": [],
    "rendering.py": [],
    "sampling.py": ["--width", "64", "--blocks", "2", "--steps", "4", "--rounds", "1"],
}
"""Those that are quick at their smallest sizes."""


def run(script: str, *arguments: str) -> str:
    """What it prints; on one thread, as the machine may be shared."""
    command = [sys.executable, str(ROOT / "benchmarks" / script), *arguments]
    environment = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
    return subprocess.run(command, check=True, capture_output=True, text=True, cwd=ROOT, env=environment).stdout


@pytest.mark.parametrize("script", [path.name for path in SCRIPTS])
def test_help_names_json(script):
    assert "--json" in run(script, "--help")


@pytest.mark.parametrize("script", sorted(SMALL.keys() - {"crash.py"}))
def test_a_quick_one_writes_its_ratio(script, tmp_path):
    run(script, *SMALL[script], "--json", str(tmp_path / "figures.json"))
    assert json.loads((tmp_path / "figures.json").read_text())["ratio"] > 0


def test_killed_trainings_end_as_the_unbroken_one(tmp_path):
    """Three times anywhere, three times within a save; see the script for many more, and for sharded ranks."""
    run("crash.py", *SMALL["crash.py"], "--json", str(tmp_path / "figures.json"))
    found = json.loads((tmp_path / "figures.json").read_text())
    assert found["identical"] == found["times"] == 6


LONG = [path.name for path in SCRIPTS if path.name not in SMALL]
"""`make bench` runs these; `make test` does not."""


@pytest.mark.bench
@pytest.mark.parametrize("script", LONG)
def test_a_long_one_writes_its_ratio(script, tmp_path):
    run(script, "--json", str(tmp_path / "figures.json"))
    assert json.loads((tmp_path / "figures.json").read_text())["ratio"] > 0


def test_ours_needs_fewer_operations_than_published(tmp_path):
    """Also that all sample the same, which the script itself asserts; fewer too than with the reference network once."""
    run("sampling.py", *SMALL["sampling.py"], "--json", str(tmp_path / "figures.json"))
    found = json.loads((tmp_path / "figures.json").read_text())
    assert found["fewer"] > 1.05
    assert 1 < found["fewer_once"] < found["fewer"]
    reused = {name: count for name, count in found["reused"].items() if count}
    assert reused.keys() == {"ours, reuse 1", "ours, reuse 1, unguided 0.4"}
    assert all(found["operations"][name] < found["operations"]["ours"] for name in reused)


def test_sampling_that_reuses_nothing_is_an_error():
    with pytest.raises(subprocess.CalledProcessError) as failed:
        run("sampling.py", *SMALL["sampling.py"], "--reuse", "0.1")
    assert "no block was reused in ours, reuse 0.1; give a --reuse beyond 0.1" in " ".join(failed.value.stderr.split())


def test_the_headline_of_a_long_talk_is_its_first_arms(monkeypatch):
    """Not a mean over arms, of which some blend."""
    monkeypatch.syspath_prepend(ROOT / "benchmarks")
    figures = importlib.import_module("long_talk").figures
    arms = {name: {"seam ratio": (ratio, 0.1), "mouth": (0.5, 0.1)} for name, ratio in (("a", 3.0), ("b", 1.0))}
    told = figures(arms, {"truth": {"seam ratio": (1.0, 0.0), "mouth": (1.0, 0.0)}})
    assert (told["ratio"], told["ratios"]) == (3.0, {"a": 3.0, "b": 1.0})
    assert told["arms"].keys() == {"a", "b", "truth"}


def test_bfloat16_costs_less_than_the_limit_and_the_published_tables_differ(tmp_path):
    run("precision.py", *SMALL["precision.py"], "--json", str(tmp_path / "figures.json"))
    found = json.loads((tmp_path / "figures.json").read_text())
    assert found["ratio"] < 1
    ours, published = (
        found["errors"][f"bf16-true, {way}"] for way in ("float32 tables", "bfloat16 tables (published)")
    )
    assert len(found["errors"]) == 3
    assert ours != published
