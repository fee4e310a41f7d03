"""What stands where a film goes when its making starts again: gone on with, left alone, or refused."""

import io
import os
from pathlib import Path

import pytest
import torch

from hallo3_lightning.film.facts import provenance
from hallo3_lightning.film.files.film import BEGINNING, FRAMES, Film, Place, beside, tags
from hallo3_lightning.film.files.frames_film import NpzFilm, PngFilm
from hallo3_lightning.film.files.mp4_boxes import boxes
from hallo3_lightning.film.files.mp4_film import GrowingMp4, Mp4Film
from hallo3_lightning.film.files.mp4_fragments import WholeFragments
from hallo3_lightning.film.left_behind import is_finished, left_at
from tests.film.files.test_film import EveryByte

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
    for known in (BEGINNING, place):
        assert left_at(path, kind, known, FACTS) == "finished"
        assert left_at(path, kind, known, {"seed": 8}) != "finished"


@pytest.mark.parametrize("growing", [False, True])
def test_an_mp4_is_finished_when_no_fragment_will_follow_whether_it_stays_in_fragments_or_not(tmp_path, growing):
    made = Mp4Film(tmp_path / "talk.mp4", SIZE, None, tags(provenance(FACTS)), growing=growing)
    for frames in (3, 2):
        made.write(torch.zeros(frames, 3, *SIZE, dtype=torch.uint8))
        made.end_window()
        assert not is_finished(tmp_path / "talk.mp4")
    whole = (tmp_path / "talk.mp4").read_bytes()
    borders = {at + near for box in boxes(io.BytesIO(whole)) for at in (box.begin, box.stop) for near in (-1, 0, 1, 9)}
    made.finish()
    made.close()
    assert is_finished(tmp_path / "talk.mp4")
    for stop in borders - {-1}:
        (tmp_path / "torn.mp4").write_bytes(whole[:stop])
        assert not is_finished(tmp_path / "torn.mp4"), stop


def test_pictures_are_finished_when_there_are_as_many_as_the_first_says(tmp_path):
    made, _ = half_made("png", tmp_path / "talk")
    assert not is_finished(tmp_path / "talk")
    made.finish()
    assert is_finished(tmp_path / "talk")
    (tmp_path / "talk/00000003.png").unlink()
    assert not is_finished(tmp_path / "talk")


def shortened(file: Path) -> None:
    os.truncate(file, 50)


def overwritten(file: Path) -> None:
    with file.open("r+b") as opened:
        opened.seek(file.stat().st_size // 2)
        opened.write(b"\xff\xfe\xfd")


@pytest.mark.parametrize("spoil", [shortened, overwritten])
@pytest.mark.parametrize("kind", NAMES)
def test_a_film_that_was_changed_before_where_it_goes_on_is_refused(tmp_path, kind, spoil):
    path = tmp_path / NAMES[kind]
    files = {"mp4": path, "npz": beside(path, FRAMES), "png": path / "00000001.png"}
    made = film(kind, path)
    made.write(torch.zeros(3, 3, *SIZE, dtype=torch.uint8))
    place = made.end_window()
    made.close()
    spoil(files[kind])
    assert left_at(path, kind, place, FACTS) == "other"


def test_the_torn_beginning_of_an_mp4_is_begun_again(tmp_path):
    path, file = tmp_path / "talk.mp4", EveryByte()
    GrowingMp4(WholeFragments(file), SIZE, None, tags(provenance(FACTS))).write(torch.zeros(1, 3, *SIZE).byte())
    for snapshot in file.snapshots[7::9] + file.snapshots[-9:]:
        path.write_bytes(snapshot)
        assert left_at(path, "mp4", BEGINNING, FACTS) == "growing", len(snapshot)


def test_a_torn_first_picture_is_begun_again(tmp_path):
    made = film("png", tmp_path / "talk")
    made.write(torch.zeros(1, 3, *SIZE, dtype=torch.uint8))
    whole = (tmp_path / "talk/00000000.png").read_bytes()
    for stop in range(0, len(whole), 9):
        (tmp_path / "talk/00000000.png").write_bytes(whole[:stop])
        assert left_at(tmp_path / "talk", "png", BEGINNING, FACTS) == "growing", stop


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
