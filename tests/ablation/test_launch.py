"""The launcher with real processes: failures, resumption, signals, and never the same run twice."""

import os
import signal
import subprocess
import sys
import time
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
from launching import job, launched, several

from hallo3_lightning.ablation import attempts
from hallo3_lightning.ablation.queue_local import THREADS, LocalQueue
from hallo3_lightning.ablation.runs import RunFolder

ROOT = Path(__file__).parents[2]
LAUNCHING = str(Path(__file__).with_name("launching.py"))


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    monkeypatch.setattr(LocalQueue, "poll_s", 0.05)


def starts(root: Path, name: str) -> int:
    file = root / name / "starts.txt"
    return len(file.read_text()) if file.is_file() else 0


def until(condition, limit_s: float = 60.0) -> None:
    end = time.monotonic() + limit_s
    while not condition():
        assert time.monotonic() < end, "waited too long"
        time.sleep(0.02)


def step(root: Path, name: str) -> int:
    return RunFolder(root / name).status().step


def test_all_finish_and_finished_ones_never_run_again(tmp_path):
    assert launched([job(tmp_path, name) for name in "abc"])[0] == 0
    assert launched([job(tmp_path, name) for name in "abcd"])[0] == 0
    assert [starts(tmp_path, name) for name in "abcd"] == [1, 1, 1, 1]
    assert RunFolder(tmp_path / "d").metrics() == {"steps": 3}


def test_a_finished_run_without_its_scores_is_tested_again(tmp_path):
    assert launched([job(tmp_path, "a")])[0] == 0
    (tmp_path / "a" / "metrics.json").unlink()
    unasked, asked = job(tmp_path, "a"), job(tmp_path, "a")
    asked.config = {**asked.config, "run": {"evaluate": True}}
    assert launched([unasked])[0] == 0
    assert starts(tmp_path, "a") == 1
    assert launched([asked])[0] == 0
    assert starts(tmp_path, "a") == 2


def test_one_failure_stops_nothing_and_is_said_once_with_its_last_line(tmp_path):
    code, text = launched(
        [job(tmp_path, "bad", fails_at=2), job(tmp_path, "worse", crashes_at=1), job(tmp_path, "good")]
    )
    assert code == 1
    assert "bad failed: RuntimeError: loss is [nan] here; see" in text
    assert "worse failed: KeyError: 'no such [key]'; see" in text
    assert RunFolder(tmp_path / "good").status().state == "finished"
    assert "1 finished" in text


def test_a_failed_run_is_tried_again_by_the_next_launch(tmp_path):
    (tmp_path / "mended").mkdir()
    assert launched([job(tmp_path, "mended", fails_at=2)])[0] == 1
    (tmp_path / "mended" / "config.yaml").unlink()
    assert launched([job(tmp_path, "mended")])[0] == 0


def test_a_run_that_fails_again_and_again_is_not_begun_for_ever(tmp_path):
    (tmp_path / "bad").mkdir()
    for retries in (1, 1, 1, 2):
        code, text = launched([job(tmp_path, "bad", crashes_at=1), job(tmp_path, "good")], retries=retries)
        assert code == 1
        refused = "bad failed: it has failed 2 times, at last with: KeyError: 'no such [key]'" in text
        assert ("`--retries 2` tries again" in text) == refused
    assert starts(tmp_path, "bad") == 3  # the third launch refused, the fourth was told to try again
    assert "it has failed 3 times" in launched([job(tmp_path, "bad")], retries=2)[1]


def test_being_stopped_is_no_failure(tmp_path):
    for _ in range(2):
        launcher = spawned(tmp_path, 1, 400, 0.05)
        until(lambda: RunFolder(tmp_path / "run0").status().state == "running")
        launcher.send_signal(signal.SIGTERM)
        launcher.wait(timeout=60)
    assert attempts.read(RunFolder(tmp_path / "run0")) == attempts.Attempts()


def test_fail_fast_ends_the_others_and_the_next_launch_goes_on(tmp_path):
    def jobs(**how) -> list:
        return [
            job(tmp_path, "bad", step_s=0.1, **how),
            job(tmp_path, "long", steps=40, step_s=0.05),
            job(tmp_path, "c"),
        ]

    code, text = launched(jobs(fails_at=3), fail_fast=True)
    assert code == 1
    assert "--fail-fast: stopped 1 runs" in text
    assert "long: stopped, step" in text
    assert RunFolder(tmp_path / "long").status().state == "stopped"
    assert starts(tmp_path, "c") == 0
    (tmp_path / "bad" / "config.yaml").unlink()
    assert launched(jobs())[0] == 0
    assert [starts(tmp_path, name) for name in ("bad", "long", "c")] == [2, 2, 1]


def test_what_somebody_else_runs_and_fails_is_left_to_the_next_launch(tmp_path):
    other = subprocess.Popen(
        [sys.executable, "-c", FAILS_ELSEWHERE, str(tmp_path)],
        cwd=Path(__file__).parent,
        env={**os.environ, "PYTHONPATH": f"{ROOT}"},
    )
    until(lambda: step(tmp_path, "bad") >= 1)
    code, text = launched([job(tmp_path, "bad", steps=9, step_s=0.1, fails_at=8)])
    assert code == 1
    assert "bad failed: RuntimeError: loss is [nan] here" in text
    assert starts(tmp_path, "bad") == 1
    assert other.wait(timeout=60) == 1
    assert attempts.read(RunFolder(tmp_path / "bad")).failed == 1  # two launchers saw it


FAILS_ELSEWHERE = """
import sys; from pathlib import Path; from launching import job, launched
sys.exit(launched([job(Path(sys.argv[1]), "bad", steps=9, step_s=0.1, fails_at=8)])[0])
"""


def test_what_others_start_from_comes_first_and_its_failure_is_theirs(tmp_path):
    first = job(tmp_path, "first")
    assert launched([first, *(job(tmp_path, name, needs=first) for name in "ab")])[0] == 0
    ended = (tmp_path / "first" / "metrics.json").stat().st_mtime
    assert all((tmp_path / name / "config.yaml").stat().st_mtime >= ended for name in "ab")

    broken = job(tmp_path, "broken", fails_at=1)
    code, text = launched([broken, job(tmp_path, "c", needs=broken), job(tmp_path, "d")])
    assert code == 1
    assert "c failed: broken, which it starts from, failed" in text
    assert starts(tmp_path, "c") == 0
    assert starts(tmp_path, "d") == 1


def test_at_most_parallel_at_once_and_threads_are_shared(tmp_path):
    jobs = [job(tmp_path, name, steps=6, step_s=0.05) for name in "abcd"]
    launched(jobs, parallel=2)
    spans = [
        ((tmp_path / n / "starts.txt").stat().st_mtime, (tmp_path / n / "metrics.json").stat().st_mtime) for n in "abcd"
    ]
    assert max(sum(a <= begin < b for a, b in spans) for begin, _ in spans) == 2
    assert LocalQueue(jobs, 2).threads == max(len(os.sched_getaffinity(0)) // 2, 1)
    assert "OMP_NUM_THREADS" in THREADS


@dataclass(frozen=True)
class Telling(RunFolder):
    """A run that writes down how many threads it may have."""

    def command(self) -> list[str]:
        code = "import os, pathlib, sys; pathlib.Path(sys.argv[1]).write_text(os.environ['OMP_NUM_THREADS'])"
        return [sys.executable, "-c", code, str(self.path / "threads.txt")]


@pytest.mark.parametrize(("said", "threads"), [("7", "7"), (None, str(max(len(os.sched_getaffinity(0)) // 2, 1)))])
def test_who_says_how_many_threads_a_process_may_have_is_obeyed(tmp_path, monkeypatch, said, threads):
    if said is None:
        monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    else:
        monkeypatch.setenv("OMP_NUM_THREADS", said)
    telling = replace(job(tmp_path, "a"), folder=Telling(tmp_path / "a"))
    launched([telling], parallel=2)
    assert (tmp_path / "a/threads.txt").read_text() == threads


def spawned(root: Path, *how: float) -> subprocess.Popen:
    """A launcher in a process of its own; `how` as for launching.several."""
    return subprocess.Popen([sys.executable, LAUNCHING, str(root), *map(str, how)])


def processes(root: Path, name: str) -> list[int]:
    file = root / name / "processes.txt"
    return [int(line) for line in file.read_text().split()] if file.is_file() else []


def test_kill_9_of_the_launcher_and_again_goes_on(tmp_path):
    launcher = spawned(tmp_path, 2, 40, 0.05)
    until(lambda: step(tmp_path, "run0") >= 2 and step(tmp_path, "run1") >= 2)
    launcher.kill()
    launcher.wait()
    code, text = launched(several(tmp_path, 2, 40, 0.05))
    assert code == 0
    assert [starts(tmp_path, f"run{i}") for i in range(2)] == [1, 1]  # taken over, not started twice
    assert "2 finished" in text


def test_kill_9_while_a_run_is_still_importing_does_not_start_it_twice(tmp_path):
    launcher = spawned(tmp_path, 1, 3, 0.02, 1.5)
    until(lambda: len(processes(tmp_path, "run0")) == 1)
    launcher.kill()
    launcher.wait()
    assert launched(several(tmp_path, 1, 3, 0.02, 1.5))[0] == 0
    assert len(processes(tmp_path, "run0")) == 1


def test_a_run_that_was_taken_over_and_dies_is_started_again(tmp_path):
    first = spawned(tmp_path, 1, 40, 0.05)
    until(lambda: step(tmp_path, "run0") >= 2)
    first.kill()
    first.wait()
    second = spawned(tmp_path, 1, 40, 0.05)
    until(lambda: step(tmp_path, "run0") >= 15)
    os.kill(processes(tmp_path, "run0")[0], signal.SIGKILL)
    assert second.wait(timeout=60) == 0
    assert starts(tmp_path, "run0") == 2


def test_told_to_stop_ends_the_runs_and_a_later_launch_resumes_them(tmp_path):
    launcher = spawned(tmp_path, 1, 30, 0.05)
    until(lambda: step(tmp_path, "run0") >= 3)
    launcher.send_signal(signal.SIGTERM)
    assert launcher.wait(timeout=60) == 128 + signal.SIGTERM
    assert RunFolder(tmp_path / "run0").status().state == "stopped"
    reached = int((tmp_path / "run0" / "step.txt").read_text())
    assert 3 <= reached < 30
    assert launched(several(tmp_path, 1, 30, 0.05))[0] == 0
    assert starts(tmp_path, "run0") == 2


def test_two_launchers_share_the_work(tmp_path):
    launchers = [spawned(tmp_path, 4, 10, 0.05) for _ in range(2)]
    assert [launcher.wait(timeout=60) for launcher in launchers] == [0, 0]
    assert [starts(tmp_path, f"run{i}") for i in range(4)] == [1] * 4


def test_lines_are_few_where_output_is_no_terminal(tmp_path):
    _, text = launched([job(tmp_path, "a", steps=40, step_s=0.05)])
    lines = [line for line in text.splitlines() if line.startswith("a: ")]
    assert 2 <= len(lines) <= 4
    assert "finished" in lines[-1]


def states(text: str) -> list[str]:
    return [line.split(": ")[1].split(";")[0].split(",")[0] for line in text.splitlines() if line.startswith("a: ")]


def test_a_run_after_its_last_step_is_testing_also_when_it_comes_back_to_that(tmp_path):
    how = {"steps": 6, "test_s": 0.5, "import_s": 0.3, "fails_test": True}
    code, text = launched([job(tmp_path, "a", **how)])
    assert code == 1
    assert [state for state in states(text) if state != "running"] == ["starting", "testing", "failed"]
    assert "a: testing, step 6/6" in text
    code, text = launched([job(tmp_path, "a", **how)])
    assert code == 0
    assert states(text) == ["starting", "testing", "finished"]
    assert "starting, step" not in text  # what an earlier start had reached


def test_a_run_that_is_not_tested_never_says_so(tmp_path):
    untested = job(tmp_path, "a", steps=6, test_s=0.5)
    untested.config = {**untested.config, "run": {"evaluate": False}}
    assert states(launched([untested])[1]) == ["starting", "running", "finished"]


def test_the_titles_and_errors_of_a_launch_are_no_markup_and_no_commands(tmp_path):
    _, text = launched([job(tmp_path, "a", fails_at=1, error="\x1b[31mRuntimeError: [/x]")])
    assert "a failed: RuntimeError: [/x]; see" in text
