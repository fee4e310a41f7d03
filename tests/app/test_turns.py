"""Who animates when: one at a time, and anybody can stop at any moment."""

from pathlib import Path

import numpy as np
import pytest
import soundfile

from hallo3_lightning.app.candidates import Candidate
from hallo3_lightning.app.screening import Screening, Wanted
from hallo3_lightning.app.turns import Turns


@pytest.fixture
def wanted(tmp_path) -> Wanted:
    soundfile.write(tmp_path / "speech.wav", np.zeros(16_000, np.int16), 16_000)
    return Wanted("a.png", str(tmp_path / "speech.wav"), [Candidate("who", Path("absent"))])


def test_who_comes_second_waits_and_then_animates(tmp_path, wanted):
    turns = Turns()
    first = turns.shown("one", Screening(tmp_path), wanted)
    assert "reading the weights" in next(first).status
    second = turns.shown("two", Screening(tmp_path), wanted)
    assert next(second).status == next(second).status == "<p>waiting for those who asked before: 1</p>"
    turns.stop("one")
    assert "who: stopped before a frame" in [*first][-1].status
    assert "reading the weights" in next(second).status
    turns.stop_all()
    assert "who: stopped before a frame" in [*second][-1].status


def test_who_waits_can_stop_and_nothing_of_theirs_begins(tmp_path, wanted):
    turns = Turns()
    first = turns.shown("one", Screening(tmp_path), wanted)
    next(first)
    second = turns.shown("two", Screening(tmp_path), wanted)
    next(second)
    turns.stop("two")
    assert [one.status for one in second] == ['<p class="stopped">who: stopped before it began</p>']
    assert "reading the weights" in next(first).status
    first.close()


def test_what_nobody_looks_at_any_more_is_stopped_and_leaves_the_turn_to_others(tmp_path, wanted):
    turns, left = Turns(), Screening(tmp_path)
    leaving = turns.shown("one", left, wanted)
    next(leaving)
    leaving.close()
    assert left.is_stopped
    following = turns.shown("two", Screening(tmp_path), wanted)
    assert "reading the weights" in next(following).status
    following.close()


def test_of_what_is_over_nothing_is_kept(tmp_path, wanted):
    turns = Turns()
    for user in range(3):
        [*turns.shown(str(user), Screening(tmp_path), Wanted(None, None, []))]
    assert turns._users == {}
