"""The time left is what the measured speeds say, and nothing where there are none."""

import time
from pathlib import Path

import pytest

from hallo3_lightning.ablation.estimate import TimeLeft, time_left
from hallo3_lightning.ablation.jobs import Job
from hallo3_lightning.ablation.runs import RunFolder, Status


def waiting(name: str, needs: Job | None = None) -> Job:
    return Job(name, RunFolder(Path(name)), {"phase": "audio", "trainer": {"max_steps": 100}}, needs)


def running(name: str, step: int, pace_s: float) -> Job:
    """At `step` of 100, seen from step 10 on at that pace."""
    job = waiting(name)
    now = time.monotonic()
    job.stage, job.status, job.started_s = "ours", Status("running", step, 100), now - step * pace_s
    job.first_step, job.last_step = (now - (step - 10) * pace_s, 10), (now, step)
    return job


def finished(name: str, pace_s: float, overhead_s: float) -> Job:
    job = running(name, 100, pace_s)
    job.stage, job.status, job.took_s = "finished", Status("finished", 100, 100), 90 * pace_s + overhead_s
    return job


def test_unknown_before_the_first_steps_and_zero_at_the_end():
    assert time_left([waiting("a")], 2).seconds is None
    assert "not known" in str(time_left([waiting("a")], 2))
    assert time_left([finished("a", 1.0, 5.0)], 2).seconds == 0


def test_one_run_at_its_own_pace_is_at_least_that():
    left = time_left([running("a", 40, 0.5)], 1)
    assert left.seconds == pytest.approx(30, abs=0.5)
    assert left.at_least
    assert str(left) == "time left: more than 30 s"


def test_a_finished_run_teaches_what_is_not_steps():
    left = time_left([finished("a", 0.5, 20.0), waiting("b")], 1)
    assert left.seconds == pytest.approx(100 * 0.5 + 20, abs=0.5)
    assert not left.at_least


def test_waiting_runs_share_the_slots_and_follow_what_they_need():
    first = running("first", 50, 1.0)
    others = [waiting(name, needs=first) for name in "abc"]
    assert time_left([first, *others], 1).seconds == pytest.approx(50 + 300, abs=1)
    assert time_left([first, *others], 2).seconds == pytest.approx(50 + 200, abs=1)
    assert time_left([first, *others], 9).seconds == pytest.approx(50 + 100, abs=1)


def test_what_cannot_run_takes_no_time():
    broken = waiting("broken")
    broken.stage = "failed"
    assert time_left([broken, waiting("a", needs=broken), running("b", 90, 1.0)], 1).seconds == pytest.approx(10, abs=1)


def test_words():
    assert str(TimeLeft(200.0)) == "time left: about 3 min 20 s"
