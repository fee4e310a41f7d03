"""Where runs stand, quickly and without anything heavy."""

import json
import os
import pty
import re
import socket
import subprocess
import sys
import termios
import time
from pathlib import Path

import pytest
from finished import finished_grid, grid_file

from hallo3_lightning.ablation import attempts
from hallo3_lightning.ablation.grid import read
from hallo3_lightning.ablation.places import write_places
from hallo3_lightning.ablation.runs import RunFolder, Status
from hallo3_lightning.ablation.standing import status
from hallo3_lightning.ablation.status import duration


def test_every_state_is_shown(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("COLUMNS", "160")
    file, root = finished_grid(tmp_path, skip=("b-seed0", "b-seed1", "c-seed0"))
    folder = read(file).folder(root)
    stopped, failed = (RunFolder(folder / f"{name}-00000000") for name in ("b-seed0", "b-seed1"))
    stopped.record(Status("running", 120, 500, 0.3, 33.3, 12.0))
    failed.record(Status("failed", 7, 500, error="RuntimeError: loss is [nan]"))
    assert status(file, root=root) == 0
    text = capsys.readouterr().out
    for words in ("stopped", "120/500", "33.3", "0.3000", "RuntimeError: loss is [nan]", "Which way?"):
        assert words in text
    assert "1 pending, 1 stopped, 1 failed, 3 finished" in text


def test_a_run_says_where_it_is_and_how_long_it_takes_yet(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("COLUMNS", "200")
    file, root = finished_grid(tmp_path, skip=("b-seed0", "b-seed1"))
    folder = RunFolder(read(file).folder(root) / "b-seed0-00000000")
    with folder.locked():
        folder.record(Status("running", 100, 500, 0.3, 33.3, 50.0))
        assert status(file, root=root) == 0
    text = capsys.readouterr().out
    assert f"{socket.gethostname()} pid {os.getpid()}" in text
    assert "3 min 20 s" in text  # 400 steps at half a second


def test_a_process_that_vanished_has_failed_with_its_last_words(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("COLUMNS", "200")
    file, root = finished_grid(tmp_path, skip=("b-seed0", "b-seed1"))
    killed, stopped = (RunFolder(read(file).folder(root) / f"b-seed{k}-00000000") for k in (0, 1))
    for run, state in ((killed, "running"), (stopped, "stopped")):
        run.path.mkdir(exist_ok=True)
        attempts.begin(run, attempts.Start(time.time()))
        run.log.write_text("reading shards\n")
        run.record(Status(state, 100, 500))
    assert status(file, root=root) == 0
    text = capsys.readouterr().out
    assert "1 stopped, 1 failed, 4 finished" in text
    assert "ended without saying why, after: reading shards" in text


def test_watching_ends_with_q_and_changes_nothing(tmp_path):
    file, root = finished_grid(tmp_path, skip=("b-seed0",))
    ours, theirs = pty.openpty()
    termios.tcsetwinsize(theirs, (11, 150))  # room for four rows: those that are finished give way
    command = [sys.executable, "-m", "hallo3_lightning.cli", "status", str(file), "--root", str(root), "--watch"]
    here = {name: value for name, value in os.environ.items() if name not in ("LINES", "COLUMNS")}  # of who tests
    environment = {**here, "PYTHONPATH": str(Path(__file__).parents[2]), "TERM": "xterm"}
    watching = subprocess.Popen(command, stdin=theirs, stdout=theirs, stderr=theirs, env=environment)
    shown = b""
    while b"q ends watching" not in shown:
        shown += os.read(ours, 10000)
    os.write(ours, b"q")
    assert watching.wait(timeout=30) == 0
    text = re.sub(rb"\x1b\[[?\d;]*[a-zA-Z]", b"", shown)
    assert b"1 pending, 5 finished" in text
    assert b"b-seed0" in text
    assert b"a-seed0" not in text


def test_watching_ends_when_all_have(tmp_path, capsys):
    file, root = finished_grid(tmp_path)
    assert status(file, root=root, watch=True) == 0
    assert "6 finished" in capsys.readouterr().out


LONG = {"model.audio": ["a", "b", "c"], "model.motion_frames": [100], "optimizer.learning_rate": [0.0001]}


@pytest.mark.parametrize("width", [80, 110, 150])
def test_what_matters_is_never_cut_off(tmp_path, monkeypatch, capsys, width):
    monkeypatch.setenv("COLUMNS", str(width))
    file, root = grid_file(tmp_path, axes=LONG, baseline=None, seeds=[0]), tmp_path / "runs"
    grid = read(file)
    folders = {run.name: grid.folder(root) / f"{run.name}-00000000" for run in grid.runs()}
    write_places(grid, root, folders, [])
    for step, folder in zip((11111, 22222, 33333), map(RunFolder, folders.values()), strict=True):
        folder.path.mkdir()
        folder.record(Status("running", step, 100000, 0.6944 + step, 123.4, 12345.0))
    failed = RunFolder(folders[grid.runs()[-1].name])
    failed.record(Status("failed", 33333, 100000, 0.1, error="RuntimeError: loss is [nan] after many good steps"))
    status(file, root=root)
    text = capsys.readouterr().out
    assert "…" not in text
    assert max(map(len, text.splitlines())) <= width
    for words in ("11111/100000", "22222/100000", "11111.6944", "stopped", "failed", "a,motion_frames=1"):
        assert words in text
    assert ("samples/s" in text) == (width == 150)
    assert ("3 h 25 min" in text) == (width > 80)


WHOLE = {"state": "running", "step": 3, "max_steps": 500}


@pytest.mark.parametrize(
    "written",
    [
        b"",
        b"\xff",
        b"[]",
        b"[" * 100_000,
        *(
            json.dumps(WHOLE | odd).encode()
            for odd in (
                {"state": "banana"},
                {"state": ["running"]},
                {"step": "x"},
                {"loss": "[/x]"},
                {"seconds": None},
                {"seconds": float("nan")},
                {"updated": float("inf")},
                {"samples_per_s": 10**400},
                {"colour": "red"},
            )
        ),
    ],
)
def test_a_damaged_run_is_failed_and_the_rest_is_shown(tmp_path, monkeypatch, capsys, written):
    monkeypatch.setenv("COLUMNS", "400")
    file, root = finished_grid(tmp_path)
    (root / "ways" / "b-seed0-00000000" / "status.json").write_bytes(written)
    assert status(file, root=root) == 0
    text = capsys.readouterr().out
    assert "1 failed, 5 finished" in text
    assert str(root / "ways" / "b-seed0-00000000" / "status.json") in text


@pytest.mark.parametrize(
    "written",
    [
        b"\xff",
        b"[" * 100_000,
        b'{"failed": "x", "error": 5, "open": null}',
        b'{"failed": 1, "error": "", "open": {"at": "z"}}',
        b'{"failed": 1, "error": "", "open": {"at": 1.5, "array": 5}}',
    ],
)
def test_damaged_attempts_are_none(tmp_path, written):
    run = RunFolder(tmp_path)
    (tmp_path / attempts.FILE).write_bytes(written)
    (tmp_path / "status.json").write_bytes(written)
    assert attempts.settle(run) == attempts.Attempts()
    assert attempts.refusal(run, 0) is None


def test_a_loss_that_is_no_number_is_no_damage(tmp_path):
    run = RunFolder(tmp_path)
    run.record(Status("failed", 3, 500, float("nan"), error="loss is [nan]"))
    assert (run.status().loss, run.status().error) == (None, "loss is [nan]")


def test_a_lock_that_is_no_text_says_something(tmp_path):
    (tmp_path / ".lock").write_bytes(b"node7 \xff")
    assert RunFolder(tmp_path).where().startswith("node7")


def test_a_hundred_runs_without_a_heavy_import_and_each_file_read_a_few_times(tmp_path):
    """What status takes is imports and reading files."""
    seeds = list(range(34))
    file, root = finished_grid(tmp_path, skip=tuple(f"{a}-seed{s}" for a in "abc" for s in seeds), seeds=seeds)
    grid = read(file)
    for run in grid.runs():
        RunFolder(grid.folder(root) / f"{run.name}-00000000").record(Status("running", 3, 500))
    code = (
        "import sys; from collections import Counter; from pathlib import Path\n"
        "from hallo3_lightning.ablation.standing import status\n"
        "opened = Counter(); root = sys.argv[2]\n"
        "def note(event, given):\n"
        "    if event == 'open' and str(given[0]).startswith(root): opened[str(given[0])] += 1\n"
        "sys.addaudithook(note)\n"
        "status(Path(sys.argv[1]), root=Path(root))\n"
        "print(sorted({'torch', 'lightning', 'numpy'} & sys.modules.keys()), max(opened.values()), len(opened) < 10 * 102)"
    )
    command = [sys.executable, "-c", code, str(file), str(root)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert "102 stopped" in done.stdout
    assert done.stdout.endswith("[] 3 True\n")


def test_durations():
    assert [duration(s) for s in (4.6, 200, 7500)] == ["5 s", "3 min 20 s", "2 h 05 min"]


def test_a_name_that_has_room_stands_in_one_line(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("COLUMNS", "80")
    file, root = finished_grid(
        tmp_path, seeds=[0], axes={"model.audio": ["a", "b", "c"], "model.motion_frames": [4]}, baseline=None
    )
    for folder in (root / "ways").glob("*-seed0-*"):
        RunFolder(folder).record(Status("running", 1111, 2000, 0.69, 12.3, 21.0))
    status(file, root=root)
    text = capsys.readouterr().out
    assert "a,motion_frames=4-seed0 " in text
    assert "seen" not in text


@pytest.mark.parametrize("words", ["[model.audio] or [/x]?", "Is [red]this[/red] red?"])
def test_a_question_is_shown_as_it_is_asked(tmp_path, capsys, words):
    file, root = finished_grid(tmp_path, question=words)
    assert status(file, root=root) == 0
    assert words in capsys.readouterr().out


def test_no_terminal_obeys_what_a_run_said_last(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("COLUMNS", "200")
    file, root = finished_grid(tmp_path)
    run = RunFolder(root / "ways" / "b-seed0-00000000")
    run.record(Status("failed", error="\x1b[31mKeyError: \x1b]0;title\x07'a'\x1b[0m\x9b"))
    assert status(file, root=root) == 0
    text = capsys.readouterr().out
    assert "KeyError: 'a' " in text
    assert not {"\x1b", "\x07", "\x9b"} & {*text}
