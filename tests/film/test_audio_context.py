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


def test_as_much_sound_is_encoded_at_once_as_is_heard_around_a_window_or_all_of_it():
    assert [asked(told).frames_at_once(49, 1000) for told in ("2", "125", "all")] == [53, 299, 1000]
    assert trained_with(125, is_live=True).frames_at_once(49, 0) == 125 + 49 + 2
