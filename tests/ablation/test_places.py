"""Where the runs of a grid lie: remembered, never taken for another grid's, and mended when damaged."""

from pathlib import Path

import pytest
from finished import grid_file

from hallo3_lightning.ablation.grid import read
from hallo3_lightning.ablation.places import ancestors, check_folder, command, places, write_places
from hallo3_lightning.cli import main
from hallo3_lightning.errors import UsageError


def folders(file: Path, root: Path) -> dict[str, Path | None]:
    return {place.run.name: place.folder and place.folder.path for place in places(read(file), root)}


def launch(file: Path, root: Path) -> None:
    grid = read(file)
    write_places(grid, root, {run.name: grid.folder(root) / f"{run.name}-x" for run in grid.runs()}, [])


def another(folder: Path) -> Path:
    """A grid file of the same name elsewhere, with an arm of its own."""
    return grid_file(folder, axes={"model.audio": ["a", "d"]}, baseline=None)


def test_places_are_remembered_until_the_settings_change(tmp_path):
    page, root = read(grid_file(tmp_path, seeds=[0])), tmp_path / "runs"
    assert [place.folder for place in places(page, root)] == [None] * 3
    write_places(page, root, {"a-seed0": root / "ways" / "a-seed0-x"}, [root / "first"])
    write_places(page, root, {"b-seed0": root / "ways" / "b-seed0-x"}, [])
    assert [place.folder and place.folder.path.name for place in places(page, root)] == ["a-seed0-x", "b-seed0-x", None]
    assert [run.path for run in ancestors(page, root)] == [root / "first"]
    moved = root.rename(tmp_path / "elsewhere")
    assert places(page, moved)[0].folder.path == moved / "ways" / "a-seed0-x"
    changed = read(grid_file(tmp_path, seeds=[0], overrides={"trainer.max_steps": 3}))
    assert [place.folder for place in places(changed, moved)] == [None] * 3


def test_another_grid_of_the_same_name_is_refused(tmp_path):
    first, second, root = grid_file(tmp_path / "one"), another(tmp_path / "two"), tmp_path / "runs"
    launch(first, root)
    for action in (launch, folders):
        with pytest.raises(UsageError, match=r"holds the runs of another grid file, .*one.*; rename .*two.*--root"):
            action(second, root)
    assert None not in folders(first, root).values()


def test_a_moved_checkout_finds_its_runs(tmp_path, monkeypatch):
    here = tmp_path / "here"
    launch(grid_file(here / "experiments"), here / "runs")
    there = here.rename(tmp_path / "there")
    monkeypatch.chdir(there)
    file, root = Path("experiments/grids/ways.yaml"), Path("runs")
    assert None not in folders(file, root).values()
    launch(file, root)
    copy = grid_file(tmp_path / "copy")  # the same words: the same question, asked from two checkouts
    assert None not in folders(copy, root).values()


def test_a_renamed_folder_of_grids_finds_its_runs(tmp_path):
    root = tmp_path / "runs"
    launch(grid_file(tmp_path / "one"), root)
    (tmp_path / "one").rename(tmp_path / "two")
    changed = grid_file(tmp_path / "two", question="How?")
    assert None not in folders(changed, root).values()


def test_runs_that_left_the_grid_come_back_with_their_folders(tmp_path):
    file, root = grid_file(tmp_path), tmp_path / "runs"
    launch(file, root)
    launch(grid_file(tmp_path, axes={"model.audio": ["b"]}), root)
    assert None not in folders(grid_file(tmp_path), root).values()


RUNS = '{"a-seed0": {"folder": "x", "overrides": {}}}'


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{",
        "[]",
        "{}",
        "[" * 100_000,
        "\udcff",
        '{"runs": {"a-seed0": 1}, "ancestors": []}',
        '{"runs": {"a-seed0": {"folder": 5, "overrides": {}}}, "ancestors": []}',
        '{"runs": {"a-seed0": {"folder": "a\\u0000b", "overrides": {}}}, "ancestors": []}',
        '{"runs": {"a-seed0": {"folder": "x", "overrides": []}}, "ancestors": []}',
        f'{{"runs": {RUNS}, "ancestors": [5]}}',
        f'{{"runs": {RUNS}, "ancestors": [], "grid": 5}}',
    ],
)
def test_damage_is_said_and_mended_by_the_next_launch(tmp_path, text):
    file, root = grid_file(tmp_path), tmp_path / "runs"
    launch(file, root)
    (root / "ways" / "grid.json").write_text(text, errors="surrogateescape")
    with pytest.raises(
        UsageError, match=r"grid.json is damaged; `hallo3 ablate .*ways.yaml --root .*` writes it again"
    ):
        folders(file, root)
    launch(file, root)
    assert None not in folders(file, root).values()


def test_hints_name_the_root_where_it_is_not_the_default():
    assert command("ablate", Path("a b.yaml"), Path("runs")) == "hallo3 ablate 'a b.yaml'"
    assert command("ablate", Path("a.yaml"), Path("x")) == "hallo3 ablate a.yaml --root x"


def test_a_file_where_a_folder_should_be_is_refused(tmp_path):
    (tmp_path / "file").touch()
    check_folder("--out", tmp_path / "new" / "folder")
    for folder in (tmp_path / "file", tmp_path / "file" / "below"):
        with pytest.raises(UsageError, match=r"--out is .*file is a file; name a folder"):
            check_folder("--out", folder)


@pytest.mark.parametrize("verb", ["status", "compare", "board", "report"])
def test_a_root_that_is_no_folder_is_refused_by_who_reads_it(tmp_path, verb, capsys):
    file = grid_file(tmp_path)
    for root, said in ((tmp_path / "none", "which is not there; name the folder"), (file, "is a file; name a folder")):
        assert main([verb, str(file), "--root", str(root)]) == 2
        assert f"--root is {root}, " in (error := capsys.readouterr().err)
        assert said in error


def test_the_default_root_may_be_made_yet(tmp_path, monkeypatch, capsys):
    file = grid_file(tmp_path)
    monkeypatch.chdir(tmp_path)
    assert main(["status", str(file)]) == 0
    assert "not launched" in capsys.readouterr().out
