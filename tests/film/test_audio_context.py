"""How far the audio encoder hears, as messages and provenance tell it."""

import pytest

from hallo3_lightning.film.audio_context import EVERYTHING, AudioContext, asked, trained_with


@pytest.mark.parametrize(
    ("context", "told"),
    [
        (asked(7), "7"),
        (asked("125"), "125"),
        (asked("all"), "all"),
        (trained_with(125, is_live=False), "125"),
        (trained_with(125, is_live=True), "125 before, 2 behind"),
        (trained_with(2, is_live=True), "2"),
    ],
)
def test_a_context_is_told_in_few_words(context, told):
    assert str(context) == told


def test_what_is_asked_for_holds_on_both_sides():
    assert asked("12") == AudioContext(12, 12)
    assert asked("all") == EVERYTHING
