"""GPUs are handed out by name, each to one process at a time, for as long as that process lives."""

import subprocess
import sys

import pytest

from hallo3_lightning.ablation import gpus
from hallo3_lightning.ablation.gpus import Gpus, visible, wanted
from hallo3_lightning.errors import UsageError


@pytest.fixture(autouse=True)
def folder(monkeypatch, tmp_path):
    monkeypatch.setattr(gpus.tempfile, "tempdir", str(tmp_path))


def test_names_come_from_the_environment(monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "2, GPU-5f")
    assert visible() == ["2", "GPU-5f"]
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    assert visible() == []


@pytest.mark.parametrize(
    ("trainer", "there", "takes"),
    [
        ({"accelerator": "cpu", "devices": 2}, 4, 0),
        ({"accelerator": "gpu", "devices": 3}, 4, 3),
        ({"accelerator": "auto", "devices": "auto"}, 4, 1),
        ({"accelerator": "auto", "devices": -1}, 4, 1),
        ({"accelerator": "auto", "devices": 2}, 0, 0),
    ],
)
def test_how_many_a_run_takes(trainer, there, takes):
    assert wanted({"trainer": trainer}, there) == takes


def test_more_than_there_are_and_certain_ones_are_refused():
    with pytest.raises(UsageError, match=r"devices is 5, but this machine has 4 GPUs; give fewer, or --launcher slurm"):
        wanted({"trainer": {"accelerator": "gpu", "devices": 5}}, 4)
    with pytest.raises(UsageError, match=r"devices is \[1, 3\]; a grid hands out GPUs itself"):
        wanted({"trainer": {"accelerator": "gpu", "devices": [1, 3]}}, 4)


def test_nobody_gets_what_another_has_until_its_process_has_ended():
    mine, others = Gpus(["0", "1", "2"]), Gpus(["0", "1", "2"])
    taken = mine.take(2)
    assert taken is not None
    assert list(taken) == ["0", "1"]
    assert others.take(2) is None
    process = subprocess.Popen(
        [sys.executable, "-c", "input()"],
        stdin=subprocess.PIPE,
        pass_fds=[file.fileno() for file in taken.values()],
    )
    for file in taken.values():
        file.close()
    assert others.take(2) is None  # the launcher has let go of them, the process has not
    process.communicate(b"\n")
    again = others.take(3)
    assert again is not None
    assert list(again) == ["0", "1", "2"]
