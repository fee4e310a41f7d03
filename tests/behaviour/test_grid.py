"""A grid that everything goes wrong with: no memory for one run, launchers killed, two at once."""

from pathlib import Path

import pytest

from tests.behaviour.studio import Studio
from tests.behaviour.three_by_three import MEMORY, ThreeByThree
from tests.slurm.waiting import until


@pytest.mark.timeout(600)
def test_a_crash_and_two_killed_launchers_leave_one_failed_run_that_the_next_launch_runs(
    studio: Studio, tmp_path: Path
):
    grid = ThreeByThree(studio, tmp_path)
    with grid.starving("wide-seed0"):
        first = grid.launch("--parallel", "2")
        until("one trains", lambda: any(run.is_locked() for run in grid.runs.values()), 120)
        first.kill()
        second, third = grid.launch("--parallel", "2"), grid.launch("--parallel", "2")
        until("three have finished", lambda: len(grid.finished) >= 3, 200)
        second.kill()
        said, _ = third.communicate(timeout=250)
    assert third.returncode == 1, said
    assert len(grid.finished) == 8, said
    reason = grid.runs["wide-seed0"].status().error
    assert MEMORY.search(reason), reason
    assert f"failed: wide-seed0: {reason}" in said
    assert "1 failed, 8 finished" in grid.status()

    again = grid.launch("--parallel", "2", "--retries", "9")
    said, _ = again.communicate(timeout=100)
    assert again.returncode == 0, said
    assert "9 finished" in said
    assert set(grid.starts().values()) == {1}  # none came to its end twice, and none was begun after its end
    first.communicate()
    second.communicate()
