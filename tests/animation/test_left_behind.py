"""What stands where a film goes when its making starts again: gone on with, left alone, or refused."""

from pathlib import Path

import pytest
import torch

from hallo3_lightning.animation.facts import provenance
from hallo3_lightning.animation.film import BEGINNING, Film, Place, tags
from hallo3_lightning.animation.frames_film import NpzFilm, PngFilm
from hallo3_lightning.animation.left_behind import left_at
from hallo3_lightning.animation.mp4_film import Mp4Film

SIZE = 16, 24
FACTS = {"seed": 7}
NAMES = {"mp4": "talk.mp4", "npz": "talk.npz", "png": "talk"}


def film(kind: str, path: Path, facts: dict = FACTS) -> Film:
    notes = tags(provenance(facts))
    if kind == "mp4":
        return Mp4Film(path, SIZE, None, notes)
    return NpzFilm(path, SIZE, notes) if kind == "npz" else PngFilm(path, notes)


def half_made(kind: str, path: Path, facts: dict = FACTS) -> tuple[Film, Place]:
    """A film behind whose first window something more was written; the place is that of the window."""
    made = film(kind, path, facts)
    made.write(torch.zeros(3, 3, *SIZE, dtype=torch.uint8))
    place = made.end_window()
    made.write(torch.zeros(2, 3, *SIZE, dtype=torch.uint8))
    return made, place


@pytest.mark.parametrize("kind", NAMES)
def test_a_growing_film_is_gone_on_with_and_a_finished_one_is_not_cut_back(tmp_path, kind):
    path = tmp_path / NAMES[kind]
    assert left_at(path, kind, BEGINNING, FACTS) == "growing"
    made, place = half_made(kind, path)
    assert left_at(path, kind, place, FACTS) == "growing"
    made.finish()
    made.close()
    # a whole film in pictures has the form of a growing one: making its last window once more does not change it
    expected = "growing" if kind == "png" else "finished"
    assert left_at(path, kind, place, FACTS) == expected
    assert left_at(path, kind, place, {"seed": 8}) != "finished"


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-1])


def of_somebody_else(path: Path) -> None:
    path.write_bytes(b"\0\0\0\x08free" * 5_000)


@pytest.mark.parametrize("spoil", [Path.unlink, cut, of_somebody_else])
@pytest.mark.parametrize("kind", ["mp4", "npz"])
def test_what_is_not_the_film_any_more_is_neither(tmp_path, kind, spoil):
    path = tmp_path / NAMES[kind]
    made = film(kind, path)
    made.write(torch.zeros(3, 3, *SIZE, dtype=torch.uint8))
    place = made.end_window()
    made.close()
    spoil(tmp_path / "talk.npz.frames" if kind == "npz" and spoil != of_somebody_else else path)
    assert left_at(path, kind, place, FACTS) == "other"


@pytest.mark.parametrize("kind", ["mp4", "npz"])
def test_somebody_elses_file_is_not_where_a_film_begins(tmp_path, kind):
    of_somebody_else(tmp_path / NAMES[kind])
    assert left_at(tmp_path / NAMES[kind], kind, BEGINNING, FACTS) == "other"


def test_a_missing_picture_and_a_strangers_folder_are_refused(tmp_path):
    made, place = half_made("png", tmp_path / "talk")
    (tmp_path / "talk/00000001.png").unlink()
    assert left_at(tmp_path / "talk", "png", place, FACTS) == "other"
    half_made("png", tmp_path / "other", {"seed": 8})
    assert left_at(tmp_path / "other", "png", BEGINNING, FACTS) == "other"
