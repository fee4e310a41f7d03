"""What the queue of SLURM says, by the names of arrays; a scheduler that is not there is no empty queue."""

from pathlib import Path

import pytest

from hallo3_lightning.ablation import squeue
from hallo3_lightning.ablation.squeue import Task

SAID = """\
demo-1a2b|0|12_0|RUNNING|node1|None
demo-1a2b|3|12_3|PENDING||Dependency
demo-9f9f|N/A|14|COMPLETING|node[1-2]|None
"""
"""As slurm 22.05 writes it."""


@pytest.fixture
def scheduler(monkeypatch, tmp_path: Path) -> Path:
    """A folder of programs that comes before all others."""
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    return tmp_path


def test_tasks_by_array_and_index(scheduler):
    program = scheduler / "squeue"
    program.write_text(f"#!/bin/sh\necho \"$@\" > {scheduler}/asked\ncat <<'E'\n{SAID}E\n")
    program.chmod(0o755)
    found = squeue.tasks(["demo-9f9f", "demo-1a2b", ""])
    assert "--name=demo-1a2b,demo-9f9f" in (scheduler / "asked").read_text()
    assert found == {
        ("demo-1a2b", 0): Task("12_0", "RUNNING", "node1", "None"),
        ("demo-1a2b", 3): Task("12_3", "PENDING", "", "Dependency"),
        ("demo-9f9f", 0): Task("14", "COMPLETING", "node[1-2]", "None"),
    }
    assert [str(task) for task in found.values()] == [
        "job 12_0 on node1",
        "job 12_3 waits (Dependency)",
        "job 14 on node[1-2]",
    ]


def test_no_answer_is_not_an_empty_queue(scheduler, monkeypatch):
    assert squeue.tasks([]) == {}
    program = scheduler / "squeue"
    program.write_text("#!/bin/sh\nexit 1\n")
    program.chmod(0o755)
    assert squeue.tasks(["demo-1a2b"]) is None
    monkeypatch.setenv("PATH", str(scheduler / "nothing"))
    assert squeue.tasks(["demo-1a2b"]) is None
