"""The grid of tests/behaviour/test_grid.py on arrays of a real SLURM that has no accounting storage."""

from pathlib import Path

import pytest

from tests.behaviour.studio import Studio
from tests.behaviour.three_by_three import MEMORY, ThreeByThree
from tests.slurm.cluster import asked
from tests.slurm.waiting import until

pytestmark = [pytest.mark.slurm, pytest.mark.timeout(600)]

ON_SLURM = ("--launcher", "slurm", "--slurm.partition", "low", "--slurm.time", "10", "--parallel", "3")


def test_killed_launchers_leave_the_arrays_alone_and_nothing_is_submitted_twice(slurm, studio: Studio, tmp_path: Path):
    grid = ThreeByThree(studio, tmp_path, slurm)
    with grid.starving("wide-seed0"):
        first = grid.launch(*ON_SLURM)
        until("jobs wait", lambda: "PENDING" in asked(slurm, "squeue", "-h", "-o", "%T"), 120)
        first.kill()
        until("one trains", lambda: any(run.is_locked() for run in grid.runs.values()), 120)
        said = grid.status()
        assert "waits (" in said
        assert " on node" in said
        second, third = grid.launch(*ON_SLURM), grid.launch(*ON_SLURM)
        until("three have finished", lambda: len(grid.finished) >= 3, 200)
        second.kill()
        said, _ = third.communicate(timeout=300)
    assert third.returncode == 1, said
    assert len(grid.finished) == 8, said
    assert MEMORY.search(grid.runs["wide-seed0"].status().error), said
    assert "1 failed, 8 finished" in grid.status()

    again = grid.launch(*ON_SLURM, "--retries", "9")
    said, _ = again.communicate(timeout=200)
    assert again.returncode == 0, said
    assert "9 finished" in said
    assert set(grid.starts().values()) == {1}
    assert asked(slurm, "squeue", "-h") == ""
    first.communicate()
    second.communicate()
