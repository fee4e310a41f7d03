"""Ctrl-C comes behind what it must not break."""

import signal

import pytest

from hallo3_lightning.film.files.by_hand import undisturbed


def interrupted(told: list[str], then: Exception | None = None) -> None:
    with undisturbed():
        signal.raise_signal(signal.SIGINT)
        told.append("all")
        if then is not None:
            raise then


def test_an_interrupt_waits_until_all_is_written():
    told: list[str] = []
    with pytest.raises(KeyboardInterrupt):
        interrupted(told)
    assert told == ["all"]


def test_what_is_ignored_stays_ignored_and_a_failure_is_told_as_it_is():
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        interrupted([])
        with pytest.raises(OSError, match="full"):
            interrupted([], OSError("full"))
        assert signal.getsignal(signal.SIGINT) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGINT, before)
