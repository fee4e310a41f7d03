"""What a film file holds, at any point of its making: measured by decoding it."""

import io
import json
import os
import struct
from collections.abc import Iterator
from contextlib import suppress
from fractions import Fraction
from itertools import pairwise
from pathlib import Path

import av
import numpy as np
import pytest
import soundfile
import torch
from PIL import Image

from hallo3_lightning.film.facts import provenance, told_by
from hallo3_lightning.film.files.film import BEGINNING, GENERATED, tags
from hallo3_lightning.film.files.frames_film import NpzFilm, PngFilm
from hallo3_lightning.film.files.mp4_boxes import boxes
from hallo3_lightning.film.files.mp4_film import GrowingMp4, Mp4Film
from hallo3_lightning.film.files.sound_track import SoundTrack
from hallo3_lightning.film.speech import Speech
from hallo3_lightning.geometry import FPS

SIZE = 32, 48
HALF_A_FRAME_S = 0.5 / FPS
NOTES = tags(json.dumps({"seed": 7}))
CLAPS_S = 0.2, 1.0, 2.4
WINDOW, CHUNK = 15, 4


def claps(path: Path, rate_hz: int, seconds: float, at_s: tuple[float, ...] = CLAPS_S) -> Speech:
    """Silence with a click at each of those times."""
    samples = np.zeros(round(rate_hz * seconds), np.float32)
    for time_s in at_s:
        samples[round(time_s * rate_hz) :][:60] = 0.9
    soundfile.write(path, samples, rate_hz, subtype="PCM_16")
    return Speech(path.name, path)


def flashes(first: int, stop: int, at_s: tuple[float, ...] = CLAPS_S) -> torch.Tensor:
    """Dark frames [f, 3, H, W], a bright one where there is a click."""
    frames = torch.full((stop - first, 3, *SIZE), 30, dtype=torch.uint8)
    for time_s in at_s:
        if first <= round(time_s * FPS) < stop:
            frames[round(time_s * FPS) - first] = 255
    return frames


def make(film, pieces: Iterator[np.ndarray], first: int, total: int, at_s: tuple[float, ...] = CLAPS_S) -> None:
    """Write a film as the animator does: windows in chunks, sound no further ahead than a window needs."""
    heard = 0.0
    for start in range(first, total, WINDOW):
        stop = min(start + WINDOW, total)
        for chunk in range(start, stop, CHUNK):
            while heard < stop + 2:
                piece = next(pieces, None)
                heard += total if piece is None else len(piece) / 640
            film.write(flashes(chunk, min(chunk + CHUNK, stop), at_s))
        film.end_window()
    for _ in pieces:
        pass


def seen_and_heard(file) -> tuple[list[float], list[float]]:
    """Seconds of the flashes and of the clicks, by the file's own clock."""
    with av.open(file) as container:
        bright = [f.time for f in container.decode(video=0) if f.to_ndarray(format="gray").mean() > 100]
    if not isinstance(file, str | Path):
        file.seek(0)
    loud: list[float] = []
    with av.open(file) as container:
        for frame in container.decode(audio=0):
            (found,) = np.nonzero(np.abs(frame.to_ndarray()[0]) > 0.4)
            loud += [frame.time + int(i) / frame.sample_rate for i in found]
    return bright, [loud[0], *(after for before, after in pairwise(loud) if after - before > 0.1)]


@pytest.mark.parametrize("rate_hz", [8_000, 16_000, 44_100])
def test_flash_and_click_are_together_in_the_growing_and_in_the_finished_film(tmp_path, rate_hz):
    speech = claps(tmp_path / "claps.wav", rate_hz, 3.03)
    sound, total = SoundTrack(rate_hz, 1), speech.survey().frames
    film = Mp4Film(tmp_path / "out.mp4", SIZE, sound, NOTES)
    make(film, speech.pieces(sound), 0, total)
    bright, loud = seen_and_heard(tmp_path / "out.mp4")
    np.testing.assert_allclose(loud, bright, atol=HALF_A_FRAME_S)
    film.finish()
    film.close()
    bright, loud = seen_and_heard(tmp_path / "out.mp4")
    np.testing.assert_allclose(bright, CLAPS_S, atol=1e-3)
    np.testing.assert_allclose(loud, CLAPS_S, atol=HALF_A_FRAME_S)
    with av.open(tmp_path / "out.mp4") as container:
        assert container.streams.video[0].frames == total == 76
        assert container.duration == pytest.approx(total / FPS * 1e6, abs=5e4)


@pytest.mark.slow
def test_flash_and_click_are_together_after_ten_minutes(tmp_path):
    late = 0.2, 300.0, 600.0
    speech = claps(tmp_path / "claps.wav", 44_100, 601, late)
    sound = SoundTrack(44_100, 1)
    film = Mp4Film(tmp_path / "out.mp4", SIZE, sound, NOTES)
    make(film, speech.pieces(sound), 0, 601 * FPS, late)
    film.finish()
    film.close()
    bright, loud = seen_and_heard(tmp_path / "out.mp4")
    np.testing.assert_allclose(bright, late, atol=1e-3)
    np.testing.assert_allclose(loud, late, atol=HALF_A_FRAME_S)


def test_a_film_that_was_gone_on_with_has_the_bytes_of_one_that_was_not(tmp_path):
    speech = claps(tmp_path / "claps.wav", 8_000, 2.5)
    for name, ends in (("whole", ()), ("broken", (2 * WINDOW, 3 * WINDOW))):
        place = BEGINNING
        for end in (*ends, speech.survey().frames):
            sound = SoundTrack(8_000, 1)
            film = Mp4Film(tmp_path / name, SIZE, sound, NOTES, place)
            make(film, speech.pieces(sound), place.frames, end)
            place = film.end_window()
            film.write(flashes(end, end + 3))  # of a window that is never finished
            film.close()
        film = Mp4Film(tmp_path / name, SIZE, SoundTrack(8_000, 1), NOTES, place)
        film.finish()
        film.close()
    assert (tmp_path / "whole").read_bytes() == (tmp_path / "broken").read_bytes()


class EveryByte(io.BytesIO):
    """Remembers what is in it after each byte that is written."""

    def __init__(self) -> None:
        super().__init__()
        self.snapshots: list[bytes] = []

    def write(self, data) -> int:
        for byte in bytes(data):
            super().write(bytes([byte]))
            self.snapshots.append(self.getvalue())
        return len(data)


def decoded(data: bytes) -> int:
    """Frames until the end, or until one that is cut."""
    count = 0
    with av.open(io.BytesIO(data)) as container, suppress(av.InvalidDataError):
        for _ in container.decode(video=0):
            count += 1
    return count


def test_a_film_opens_and_plays_to_its_last_whole_fragment_whichever_byte_was_its_last(tmp_path, monkeypatch):
    speech = claps(tmp_path / "claps.wav", 16_000, 1.0)
    sound, file = SoundTrack(16_000, 1), EveryByte()
    for _ in speech.pieces(sound):
        pass
    with monkeypatch.context() as patched:
        patched.setattr(Path, "open", lambda path, mode: file)
        film, dark = Mp4Film(tmp_path / "talk.mp4", SIZE, sound, NOTES), torch.zeros(2, 3, *SIZE, dtype=torch.uint8)
    for _ in range(2):
        film.write(dark)
    begun = len(file.snapshots)
    film.write(dark)
    assert {decoded(snapshot) for snapshot in file.snapshots[begun - 1 : -1]} == {4}
    assert decoded(file.getvalue()) == 6
    assert [part.name for part in boxes(file)] == ["ftyp", "moov", *["moof", "mdat"] * 3]


def test_the_tail_of_an_unfinished_fragment_does_not_spoil_what_is_before_it(tmp_path):
    film = Mp4Film(tmp_path / "torn.mp4", SIZE, None, NOTES)
    film.write(flashes(0, 12))
    size = (tmp_path / "torn.mp4").stat().st_size
    film.write(flashes(12, 24))
    film.close()
    whole = (tmp_path / "torn.mp4").read_bytes()
    (tmp_path / "torn.mp4").write_bytes(whole[: (size + len(whole)) // 2])
    decoded = 0
    with av.open(tmp_path / "torn.mp4") as container, suppress(av.InvalidDataError):
        for _ in container.decode(video=0):
            decoded += 1
    assert decoded >= 12


def test_a_film_says_that_it_is_generated_and_how(tmp_path):
    film = Mp4Film(tmp_path / "out.mp4", SIZE, None, NOTES)
    film.write(flashes(0, 3))
    for finished in (False, True):
        if finished:
            film.finish()
        with av.open(tmp_path / "out.mp4") as container:
            assert container.metadata["description"] == GENERATED
            assert json.loads(container.metadata["comment"]) == {"seed": 7}
    film.close()


@pytest.mark.parametrize("prompt", ["x" * 100_000, "\u6f22" * 40_000])
def test_notes_may_be_long(tmp_path, prompt):
    notes = tags(json.dumps({"prompt": prompt}))
    film = Mp4Film(tmp_path / "out.mp4", SIZE, None, notes)
    film.write(flashes(0, 3))
    for finished in (False, True):
        if finished:
            film.finish()
        with av.open(tmp_path / "out.mp4") as container:
            assert json.loads(container.metadata["comment"]) == {"prompt": prompt}
            assert len(list(container.decode(video=0))) == 3
    film.close()


@pytest.mark.parametrize("name", ["12:30.mp4", "http:x.mp4", "data:x.mp4", "100%d.mp4", "-x.mp4"])
def test_a_name_is_a_name_and_no_address(tmp_path, monkeypatch, name):
    monkeypatch.chdir(tmp_path)
    film = Mp4Film(Path(name), SIZE, None, tags(provenance({"seed": 7})))
    film.write(flashes(0, 3))
    film.finish()
    film.close()
    assert [path.name for path in tmp_path.iterdir()] == [name]
    assert told_by(Path(name)) == {"seed": 7}


def box(name: bytes, size: int, content: bytes = b"") -> bytes:
    return struct.pack(">I4s", size, name) + content


def test_boxes_of_an_mp4_follow_each_other_also_those_of_64_bits():
    data = box(b"ftyp", 12, b"isom") + box(b"mdat", 1, struct.pack(">Q", 20) + b"full") + box(b"free", 8)
    found = [(part.name, data[part.begin : part.stop][-4:]) for part in boxes(io.BytesIO(data))]
    assert found == [("ftyp", b"isom"), ("mdat", b"full"), ("free", b"free")]


@pytest.mark.parametrize(
    "data", [box(b"moov", 0), box(b"moov", 7), box(b"moov", 9), box(b"mdat", 1), box(b"mdat", 1, bytes(8)), b"\0\0"]
)
def test_a_box_of_no_length_or_cut_short_is_refused(data):
    with pytest.raises(ValueError, match="the box at byte 12"):
        list(boxes(io.BytesIO(box(b"ftyp", 12, b"isom") + data)))


def test_what_goes_through_a_pipe_is_the_growing_film(tmp_path):
    speech = claps(tmp_path / "claps.wav", 16_000, 3)
    sound, pipe = SoundTrack(16_000, 1), io.BytesIO()
    film = GrowingMp4(pipe, SIZE, sound, NOTES)
    make(film, speech.pieces(sound), 0, 75)
    film.finish()
    pipe.seek(0)
    bright, loud = seen_and_heard(pipe)
    assert len(bright) == len(CLAPS_S)
    np.testing.assert_allclose(loud, bright, atol=HALF_A_FRAME_S)


def ends_s(file) -> tuple[float, float]:
    """When picture and sound end, by the file's own clock."""
    with av.open(file) as container:
        ends: dict[str, Fraction] = {}
        for packet in container.demux():
            if packet.pts is not None:
                end = (packet.pts + packet.duration) * packet.time_base
                ends[packet.stream.type] = max(end, ends.get(packet.stream.type, end))
    return float(ends["video"]), float(ends["audio"])


@pytest.mark.parametrize("rate_hz", [8_000, 16_000, 44_100, 48_000])
@pytest.mark.parametrize("frames", [1, 31, 40])
def test_sound_that_is_ahead_of_the_last_frame_is_cut_there(tmp_path, rate_hz, frames):
    """As when live speech is ended while frames are made of it."""
    speech, pipe = claps(tmp_path / "claps.wav", rate_hz, 3.03), io.BytesIO()
    sounds = [SoundTrack(rate_hz, 1) for _ in range(2)]
    film, piped = Mp4Film(tmp_path / "out.mp4", SIZE, sounds[0], NOTES), GrowingMp4(pipe, SIZE, sounds[1], NOTES)
    for one, sound in zip((film, piped), sounds, strict=True):
        for _ in speech.pieces(sound):
            pass
        make(one, iter(()), 0, frames)
        one.finish()
    film.close()
    pipe.seek(0)
    for file in (tmp_path / "out.mp4", pipe):
        picture, sound = ends_s(file)
        assert abs(picture - sound) <= HALF_A_FRAME_S
    assert ends_s(tmp_path / "out.mp4")[0] == pytest.approx(frames / FPS)


def noise(frames: int) -> torch.Tensor:
    return torch.randint(0, 256, (frames, 3, *SIZE), dtype=torch.uint8, generator=torch.Generator().manual_seed(frames))


def test_png_frames_are_without_loss_and_those_of_a_longer_film_go(tmp_path):
    for count in (5, 3):
        film = PngFilm(tmp_path / "out", NOTES)
        film.write(noise(count))
        film.finish()
    files = sorted((tmp_path / "out").iterdir())
    assert [file.name for file in files] == ["00000000.png", "00000001.png", "00000002.png"]
    images = [Image.open(file) for file in files]
    assert np.array_equal(np.stack(images), noise(3).permute(0, 2, 3, 1).numpy())
    said = {"Description": GENERATED, "Comment": NOTES["comment"]}
    assert [image.text for image in images] == [{**said, "Frames": "3"}, said, said]


def test_pictures_of_a_window_are_on_the_disk_when_it_ends(tmp_path, monkeypatch):
    synced, fsync = [], os.fsync
    monkeypatch.setattr(os, "fsync", lambda file: (synced.append(os.fstat(file).st_ino), fsync(file)))
    film = PngFilm(tmp_path / "out", NOTES)
    for frames in (3, 2):
        film.write(noise(frames))
        film.end_window()
    assert sorted(
        {(tmp_path / "out").stat().st_ino, *(file.stat().st_ino for file in (tmp_path / "out").iterdir())}
    ) == (sorted(set(synced)))


def test_npz_frames_are_without_loss_and_go_on_behind_the_last_window(tmp_path):
    film = NpzFilm(tmp_path / "out.npz", SIZE, NOTES)
    film.write(noise(4))
    place = film.end_window()
    film.write(noise(3))
    film.close()
    film = NpzFilm(tmp_path / "out.npz", SIZE, NOTES, place)
    film.write(noise(2))
    film.finish()
    film.close()
    with np.load(tmp_path / "out.npz", allow_pickle=False) as found:
        assert np.array_equal(found["frames"], torch.cat([noise(4), noise(2)]).permute(0, 2, 3, 1).numpy())
        assert json.loads(found["provenance.json"]) == {"seed": 7}
        assert found["fps"] == FPS
    assert [file.name for file in tmp_path.iterdir()] == ["out.npz"]
    assert (place.frames, place.bytes) == (4, 4 * 3 * SIZE[0] * SIZE[1])
    assert Fraction(place.frames, FPS) == Fraction(4, 25)


def resident_bytes() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4096


def test_memory_does_not_grow_with_the_number_of_windows(tmp_path):
    film, held = Mp4Film(tmp_path / "long.mp4", SIZE, SoundTrack(16_000, 1), NOTES), []
    for number in range(120):
        for chunk in range(3):
            film.write(noise(1 + chunk))
        film.end_window()
        if number in (20, 119):
            held.append(resident_bytes())
    film.close()
    assert held[1] - held[0] < 5 * 2**20  # a container that is not let go of keeps half a megabyte
