"""`hallo3 animate` by two processes, as torchrun starts them."""

import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import soundfile
from PIL import Image

from tests.behaviour.studio import ROOT

TOGETHER_S = 120
"""Longer than anything here takes, even on a busy machine."""


@pytest.fixture(scope="module")
def command(studio, identity, tmp_path_factory) -> list[str]:
    """What is typed, but for --out."""
    folder = tmp_path_factory.mktemp("together")
    weights = studio.run("fit", *studio.audio).path
    picture = np.add.outer(np.arange(32) * 4, np.arange(32) * 4)
    Image.fromarray(np.stack([picture] * 3, axis=-1).astype(np.uint8)).save(folder / "portrait.png")
    soundfile.write(folder / "speech.wav", np.sin(np.arange(32_000) / 20) * 0.3, 16_000)
    given = {"image": folder / "portrait.png", "audio": folder / "speech.wav", "weights": weights, "face": "4,2,28,30"}
    return ["animate", *(part for name, value in given.items() for part in (f"--{name}", str(value)))]


def started(command: list[str], ranks: int = 2) -> "list[subprocess.Popen[str]]":
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        port = str(found.getsockname()[1])
    places = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port, "WORLD_SIZE": str(ranks), "OMP_NUM_THREADS": "1"}
    return [
        subprocess.Popen(
            [sys.executable, "-W", "ignore", "-m", "hallo3_lightning.cli", *command],
            cwd=ROOT,
            env={**os.environ, **places, "RANK": str(rank), "LOCAL_RANK": str(rank)},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for rank in range(ranks)
    ]


def frames(path: Path) -> np.ndarray:
    with np.load(path) as film:
        return film["frames"].astype(int)


def test_the_film_is_that_of_one_process_and_the_first_alone_speaks(command, tmp_path):
    alone, together = (tmp_path / f"{name}.npz" for name in ("alone", "together"))
    subprocess.run([sys.executable, "-m", "hallo3_lightning.cli", *command, "--out", str(alone)], check=True, cwd=ROOT)
    both = started([*command, "--out", str(together)])
    said = [process.communicate(timeout=TOGETHER_S) for process in both]
    assert [process.returncode for process in both] == [0, 0], said
    assert "50 frames" in said[0][0]
    assert said[1] == ("", "")
    assert abs(frames(together) - frames(alone)).max() <= 1, "a rounding at most"


@pytest.mark.parametrize("victim", [0, 1])
def test_the_other_of_one_that_is_killed_ends_by_a_sentence(victim, command, tmp_path):
    both = started([*command, "--steps", "500", "--out", str(tmp_path / "talk.npz")])
    begin = time.monotonic()
    while not (tmp_path / "talk.npz.frames").exists() and time.monotonic() - begin < TOGETHER_S:
        time.sleep(0.05)
    both[victim].send_signal(signal.SIGKILL)
    _, said = both[1 - victim].communicate(timeout=TOGETHER_S)
    both[victim].communicate()
    assert both[1 - victim].returncode == 2, said
    assert "another of the processes that share the branches of this film has ended" in said
    assert "Traceback" not in said


def test_more_processes_than_branches_are_one_sentence(command, tmp_path):
    three = started([*command, "--out", str(tmp_path / "talk.npz")], ranks=3)
    said = [process.communicate(timeout=TOGETHER_S)[1] for process in three]
    assert [process.returncode for process in three] == [2, 0, 0], said
    assert said[0].startswith("hallo3 animate: error: 3 processes for 2 branches of guidance")
    assert said[1:] == ["", ""]
