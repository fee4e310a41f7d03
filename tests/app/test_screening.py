"""What the page shows, without a page."""

from pathlib import Path

import numpy as np
import pytest
import soundfile

from hallo3_lightning.app.candidates import Candidate
from hallo3_lightning.app.filming import Filming, film_of
from hallo3_lightning.app.screening import Screening, Wanted

WHO = [Candidate("<b>who</b>", Path("absent"))]


@pytest.fixture
def speech(tmp_path) -> str:
    soundfile.write(tmp_path / "speech.wav", np.zeros(16_000, np.int16), 16_000)
    return str(tmp_path / "speech.wav")


def last(folder: Path, wanted: Wanted) -> str:
    *_, shown = Screening(folder).shown(wanted)
    return shown.status


@pytest.mark.parametrize(
    ("image", "heard", "who", "sentence"),
    [
        (None, True, WHO, "there is no portrait; choose a picture"),
        ("a.png", False, WHO, "there is no speech; choose a recording"),
        ("a.png", True, [], "nobody is to animate it; choose weights"),
    ],
)
def test_what_is_missing_is_said(tmp_path, speech, image, heard, who, sentence):
    assert sentence in last(tmp_path, Wanted(image, speech if heard else None, who))


def test_sound_that_cannot_be_heard_is_said_by_its_name(tmp_path):
    (tmp_path / "<i>.wav").write_text("no sound at all")
    said = last(tmp_path, Wanted("a.png", str(tmp_path / "<i>.wav"), WHO))
    assert "--audio &lt;i&gt;.wav cannot be decoded" in said


def test_what_the_command_complains_of_is_shown_without_its_markup(tmp_path, speech):
    said = last(tmp_path, Wanted("a.png", speech, WHO))
    assert said.startswith('<p class="error">&lt;b&gt;who&lt;/b&gt;: no weights at')
    assert "hallo3 animate" not in said


def test_stop_holds_while_the_speech_is_still_looked_at(tmp_path, speech):
    """The page surveys it for seconds, behind the click that asked for the film."""
    screening = Screening(tmp_path / "films")

    class Surveyed(Wanted):
        def check(self) -> int:
            screening.stop()
            return super().check()

    shown = [*screening.shown(Surveyed("a.png", speech, WHO))]
    assert [one.status for one in shown] == ['<p class="stopped">&lt;b&gt;who&lt;/b&gt;: stopped before it began</p>']


def test_a_film_that_was_stopped_stays_so_when_it_is_stopped_again(tmp_path):
    filming = Filming(["--image=a.png"], tmp_path / "a.mp4")
    filming.stop()
    filming.stop()
    assert filming.was_stopped


def test_the_same_request_means_the_same_film(tmp_path):
    asked = ["--image=a", "--steps=2"]
    assert film_of(tmp_path, "x", asked) == film_of(tmp_path, "x", list(asked))
    assert len({film_of(tmp_path, "x", given) for given in (asked, ["--image=a--steps=2"], ["--image=a"])}) == 3
    assert film_of(tmp_path, "../" + 300 * "y", asked).parent == tmp_path
    assert len(film_of(tmp_path, 300 * "y", asked).name) < 100
