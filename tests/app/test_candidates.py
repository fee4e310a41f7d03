"""What the page offers to animate with, from folders alone."""

import json
from pathlib import Path

import pytest
import yaml

from hallo3_lightning.ablation.grid import read
from hallo3_lightning.ablation.places import write_places
from hallo3_lightning.ablation.runs import RunFolder, Status
from hallo3_lightning.app.candidates import Candidates
from hallo3_lightning.errors import UsageError


@pytest.fixture
def grid(tmp_path) -> Path:
    """Arms a and b with seeds 0 and 1, launched and not begun."""
    (tmp_path / "grids").mkdir()
    (tmp_path / "base.yaml").write_text("phase: audio\n")
    page = {"question": "Which?", "base": ["base.yaml"], "axes": {"model.audio": ["a", "b"]}, "seeds": [0, 1]}
    file = tmp_path / "grids/ways.yaml"
    file.write_text(yaml.safe_dump(page))
    ways, root = read(file), tmp_path / "runs"
    folders = {run.name: root / "ways" / run.name for run in ways.runs()}
    write_places(ways, root, folders, [])
    return file


def finish(root: Path, *names: str, phase: str = "audio") -> None:
    for name in names:
        (root / "ways" / name / "checkpoints").mkdir(parents=True)
        (root / "ways" / name / "config.yaml").write_text(f"phase: {phase}\n")
        RunFolder(root / "ways" / name).record(Status("finished"))


def test_an_arm_is_its_first_finished_run(grid, tmp_path):
    root = tmp_path / "runs"
    finish(root, "a-seed0", "a-seed1", "b-seed1")
    candidates = Candidates(root)
    assert [arm.label for arm in candidates.arms(candidates.grids()["ways"])] == ["a-seed0", "b-seed1"]


def test_a_grid_without_finished_runs_says_so(grid, tmp_path):
    with pytest.raises(UsageError, match="no run of .*ways.yaml is finished; `hallo3 status"):
        Candidates(tmp_path / "runs").arms(grid)


@pytest.mark.parametrize("page", ["{", "[]", json.dumps({"runs": {}}), json.dumps({"grid": "../gone.yaml"})])
def test_a_grid_that_cannot_be_read_is_not_offered(tmp_path, page):
    (tmp_path / "odd").mkdir()
    (tmp_path / "odd/grid.json").write_text(page)
    assert Candidates(tmp_path).grids() == {}


def test_runs_have_a_checkpoint_and_what_was_named_comes_first(grid, tmp_path):
    root = tmp_path / "runs"
    finish(root, "b-seed0")
    (root / "alone/checkpoints").mkdir(parents=True)
    (root / "alone/config.yaml").write_text("phase: audio\n")
    (root / "begun").mkdir()
    (root / "begun/config.yaml").write_text("phase: audio\n")
    found = Candidates(root, [tmp_path / "imported"]).all()
    assert [candidate.label for candidate in found] == [str(tmp_path / "imported"), "alone", "ways/b-seed0"]


def test_runs_that_never_heard_sound_are_not_offered(grid, tmp_path):
    root = tmp_path / "runs"
    finish(root, "a-seed0", phase="identity")
    with pytest.raises(UsageError, match="the runs of .*ways.yaml were trained without sound"):
        Candidates(root).arms(grid)
    finish(root, "b-seed0", "b-seed1")
    assert [arm.label for arm in Candidates(root).arms(grid)] == ["b-seed0"]
    assert [run.label for run in Candidates(root).all()] == ["ways/b-seed0", "ways/b-seed1"]


@pytest.mark.parametrize("config", ["", "- phase", "{", "phase: \xff"])
def test_a_run_whose_config_does_not_tell_is_offered_and_animating_says_what_is_wrong(grid, tmp_path, config):
    finish(tmp_path / "runs", "a-seed0")
    (tmp_path / "runs/ways/a-seed0/config.yaml").write_text(config, encoding="latin-1")
    assert [run.label for run in Candidates(tmp_path / "runs").all()] == ["ways/a-seed0"]
