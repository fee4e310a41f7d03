"""How far a film is, seen from outside."""

import torch

from hallo3_lightning.app.progress import GrowingFrames, Remaining
from hallo3_lightning.film.files.film import tags
from hallo3_lightning.film.files.mp4_film import Mp4Film
from hallo3_lightning.film.files.sound_track import SoundTrack


def frames(count: int) -> torch.Tensor:
    return torch.full((count, 3, 32, 48), 30, dtype=torch.uint8)


def test_frames_are_counted_as_they_come_within_a_window_too(tmp_path):
    growing = GrowingFrames(tmp_path / "a.mp4")
    assert growing.count() == 0
    film = Mp4Film(tmp_path / "a.mp4", (32, 48), SoundTrack(16_000, 1), tags("{}"))
    film.write(frames(9))
    assert growing.count() == 9
    film.write(frames(8))
    place = film.end_window()
    film.write(frames(5))
    assert growing.count() == growing.count() == GrowingFrames(tmp_path / "a.mp4").count() == 22
    film.close()
    whole = (tmp_path / "a.mp4").read_bytes()
    (tmp_path / "a.mp4").write_bytes(whole[: place.bytes + 9])
    assert GrowingFrames(tmp_path / "a.mp4").count() == growing.count() == 17, "not those of half a fragment"


def test_seconds_are_told_when_a_window_is_whole_and_do_not_count_the_reading_of_weights():
    remaining = Remaining(begin_s=100.0, begin_frames=0)
    assert remaining.left_s(130.0, 0, 90) is None
    assert remaining.left_s(150.0, 30, 90) == 60 * 50 / 30
    assert remaining.left_s(160.0, 30, 90) == 90
    assert remaining.left_s(170.0, 60, 90) == 30 * 20 / 30
    assert remaining.left_s(999.0, 60, 90) == 0


def test_what_was_made_before_is_no_speed():
    remaining = Remaining(begin_s=0.0, begin_frames=60)
    assert remaining.left_s(1.0, 60, 90) is None
    assert remaining.left_s(10.0, 75, 90) == 10
