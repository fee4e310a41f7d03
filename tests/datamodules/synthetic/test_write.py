import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from datamodules.index import open_index
from datamodules.synthetic import write
from datamodules.synthetic.write import synthesize
from hallo3_lightning.errors import UsageError

SMALL = {"takes": 10, "held_out": 3, "frames": 3, "size": 16}


@pytest.fixture(autouse=True)
def _small_shards(monkeypatch):
    monkeypatch.setattr(write, "TAKES_PER_SHARD", 4)


def contents(out: Path) -> dict[str, bytes]:
    """All shards and the manifest, by their place in the folder."""
    return {str(path.relative_to(out)): path.read_bytes() for path in [*out.glob("*/*.tar"), out / "dataset.json"]}


def test_both_splits_are_written_with_index_and_manifest(tmp_path):
    out = synthesize(tmp_path / "heads", **SMALL, workers=1)
    names = sorted(contents(out))
    assert names == ["dataset.json", "held_out/held_out-00000.tar", *(f"train/train-0000{n}.tar" for n in range(3))]
    splits = {split: open_index(out / split) for split in ("train", "held_out")}
    assert {split: len(index) for split, index in splits.items()} == {"train": 10, "held_out": 3}
    assert all((out / split / "index.wdx").exists() for split in splits)
    identities = {split: {index.key(number) for number in range(len(index))} for split, index in splits.items()}
    assert not identities["train"] & identities["held_out"]
    manifest = json.loads((out / "dataset.json").read_text())
    assert manifest["fingerprint"] == "-".join(index.digest for index in splits.values())
    assert manifest["arguments"]["takes"] == 10


def test_second_call_writes_nothing(tmp_path):
    out = synthesize(tmp_path, **SMALL, workers=1)
    times = {path: path.stat().st_mtime_ns for path in out.glob("*/*.tar")}
    synthesize(tmp_path, **SMALL, workers=1)
    assert times == {path: path.stat().st_mtime_ns for path in out.glob("*/*.tar")}


def test_missing_shard_is_made_again(tmp_path):
    out = synthesize(tmp_path, **SMALL, workers=1)
    before = contents(out)
    (out / "train" / "train-00001.tar").unlink()
    synthesize(tmp_path, **SMALL, workers=1)
    assert contents(out) == before


def test_other_arguments_are_refused_by_name(tmp_path):
    synthesize(tmp_path, **SMALL, workers=1)
    with pytest.raises(UsageError, match=r"other arguments \(seed 0 there, 5 asked for; size 16 there, 24 asked for\)"):
        synthesize(tmp_path, **SMALL | {"size": 24, "seed": 5}, workers=1)


def test_folder_with_other_shards_is_left_alone(tmp_path):
    (tmp_path / "train").mkdir()
    (tmp_path / "train" / "mine.tar").touch()
    with pytest.raises(UsageError, match="choose an empty folder"):
        synthesize(tmp_path, **SMALL, workers=1)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"takes": 0}, "--takes is 0; it must be at least 1"),
        ({"held_out": 0}, "--held-out is 0; it must be at least 1"),
        ({"size": 8}, "--size is 8; it must be at least 16"),
        ({"yaw_max": 2.0}, "--yaw-max is 2.0; it is an angle"),
        ({"takes": 2_000_000}, "--takes and --held-out can be at most 1000000, got 2000000, 3"),
        ({"workers": 0}, "--workers is 0; expected 1 or more"),
        ({"workers": -1}, "--workers is -1; expected 1 or more"),
    ],
)
def test_impossible_arguments_are_refused(tmp_path, wrong, message):
    with pytest.raises(UsageError, match=message):
        synthesize(tmp_path / "heads", **SMALL | wrong)
    assert not (tmp_path / "heads").exists()


def test_held_out_takes_do_not_depend_on_how_many_there_are_to_train_on(tmp_path):
    few, many = (synthesize(tmp_path / str(takes), **SMALL | {"takes": takes}, workers=1) for takes in (2, 9))
    name = "held_out/held_out-00000.tar"
    assert contents(few)[name] == contents(many)[name]


KILLED = """
from datamodules.synthetic.write import synthesize
if __name__ == "__main__":
    synthesize({out!r}, takes=400, held_out=3, frames=3, size=16, workers=2)
"""


def test_killed_and_run_again_gives_the_same_bytes(tmp_path, monkeypatch):
    """Also: two processes, killed, then one; and its workers end with it."""
    monkeypatch.undo()  # shards of the usual size, as the other process writes them
    script = tmp_path / "script.py"
    script.write_text(KILLED.format(out=str(tmp_path / "killed")))
    process = subprocess.Popen([sys.executable, str(script)], stdout=subprocess.DEVNULL, start_new_session=True)
    while not list((tmp_path / "killed").glob("train/*.tar")):
        assert process.poll() is None
        time.sleep(0.02)
    process.send_signal(signal.SIGKILL)
    process.wait()
    wait_until_gone(process.pid)
    done = len(list((tmp_path / "killed").glob("train/*.tar")))
    again = synthesize(tmp_path / "killed", takes=400, held_out=3, frames=3, size=16, workers=1)
    whole = synthesize(tmp_path / "whole", takes=400, held_out=3, frames=3, size=16, workers=1)
    assert contents(again) == contents(whole)
    assert done < 8, "the kill came too late to show anything"


def wait_until_gone(session: int) -> None:
    """Until no process of the session is left."""
    for _ in range(500):
        try:
            os.killpg(session, 0)
        except ProcessLookupError:
            return
        time.sleep(0.02)
    raise AssertionError("workers outlived the process that they work for")
