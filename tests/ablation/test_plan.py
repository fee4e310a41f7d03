"""A grid of the project, resolved by the real command line into folders."""

from pathlib import Path

import pytest

from hallo3_lightning.ablation.grid import read
from hallo3_lightning.ablation.launch import ablate
from hallo3_lightning.ablation.planning import plan
from hallo3_lightning.ablation.runs import ancestor_run
from hallo3_lightning.errors import UsageError

ROOT = Path(__file__).parents[2]


def test_demo_runs_share_one_ancestor_and_have_folders_of_their_own(monkeypatch, tmp_path):
    monkeypatch.chdir(ROOT)  # configs name their ancestors and data from the project's folder
    grid = read(Path("experiments/grids/demo.yaml"))
    jobs = plan(grid, grid.runs(only=["adaln", "token_concat"], seeds=[1]), tmp_path)
    first, *arms = jobs
    assert [job.name for job in arms] == ["adaln-seed1", "token_concat-seed1"]
    assert [job.needs for job in arms] == [first, first]
    assert first.folder.path.parent == tmp_path
    assert {job.folder.path.parent for job in arms} == {tmp_path / "demo"}
    assert arms[0].folder.path.name.startswith("adaln-seed1-")
    assert arms[0].config["model"]["audio"] == "adaln"
    assert arms[0].config["seed_everything"] == 1
    for job in arms:  # where the run itself will look for what it starts from
        assert ancestor_run(job.config).path == first.folder.path
    assert not list(tmp_path.iterdir())


def test_from_another_folder_it_says_where_to_go(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    grid = read(ROOT / "experiments" / "grids" / "demo.yaml")
    with pytest.raises(UsageError, match=r"starts from experiments/tiny/identity.yaml, which is not in") as caught:
        plan(grid, grid.runs(only=["adaln"], seeds=[1]), tmp_path / "runs")
    assert str(caught.value).endswith(f"run this from {ROOT}")


def test_a_root_that_is_a_file_is_refused(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(UsageError, match="--root is .*file is a file; name a folder"):
        ablate(ROOT / "experiments" / "grids" / "demo.yaml", root=tmp_path / "file")
