"""Recordings that broke off: a user is told, and of whole ones nothing."""

from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
import soundfile
import torch

from hallo3_lightning.errors import UsageError
from hallo3_lightning.film.files.mp4_film import Mp4Film
from hallo3_lightning.film.files.sound_track import SoundTrack
from hallo3_lightning.film.speech import Speech
from tests.film.test_speech import FORMS, record, tone

TELLING = {
    "low.wav": FORMS["low.wav"],
    "old.aiff": FORMS["old.aiff"],
    "sun.au": ("pcm_s16be", 16_000, "mono"),
    "packed.mp3": FORMS["packed.mp3"],
    "screen.mkv": ("aac", 44_100, "stereo"),
    "browser.webm": ("libopus", 48_000, "mono"),
}
"""Forms that say how long they are."""


def cut(path: Path, share: float = 0.5) -> Path:
    path.write_bytes(path.read_bytes()[: round(share * path.stat().st_size)])
    return path


@pytest.mark.parametrize("name", TELLING)
def test_a_recording_that_was_cut_off_is_warned_about(tmp_path, name):
    path = record(tmp_path / name, *TELLING[name], seconds=4)
    assert Speech("mine", path).survey().warning == ""
    found = Speech("mine", cut(path)).survey()
    assert 1 < found.duration_s < 3
    assert f"--audio mine says that it lasts 4.0 s, and {float(found.duration_s):.1f} s of it are" in found.warning


@pytest.mark.parametrize(
    ("name", "codec", "rate_hz"),
    [("album.flac", "flac", 22_050), ("a.tta", "tta", 16_000), ("a.ogg", "libopus", 48_000)],
)
def test_one_that_cannot_be_decoded_without_its_end_is_said_to_be_cut_off(tmp_path, name, codec, rate_hz):
    path = record(tmp_path / name, codec, rate_hz, "mono")
    assert Speech(name, path).survey().warning == ""
    with pytest.raises(UsageError, match="cannot be decoded .* it is cut off, damaged or no recording; copy it again"):
        Speech(name, cut(path, 0.4)).survey()


@pytest.mark.parametrize("told", [0, 0x7FFFF024, 0xFFFFFFFF])
def test_a_recording_that_came_through_a_pipe_says_no_length(tmp_path, told):
    path = record(tmp_path / "low.wav", *FORMS["low.wav"])
    path.write_bytes(path.read_bytes()[:4] + told.to_bytes(4, "little") + path.read_bytes()[8:])
    assert Speech("low.wav", path).survey().warning == ""


def test_an_mp3_that_says_no_length_is_not_guessed_at(tmp_path):
    """Silent at first, then loud, with as many bits as each needs: FFmpeg's guess is seconds longer than it is."""
    samples = np.concatenate([np.zeros(12 * 16_000), np.random.default_rng(0).uniform(-1, 1, 8_000)])
    with av.open(tmp_path / "bare.mp3", "w", options={"write_xing": "0"}) as container:
        stream = container.add_stream("libmp3lame", rate=16_000, layout="mono", options={"compression_level": "9"})
        stream.codec_context.qscale = 2
        frame = av.AudioFrame.from_ndarray(samples[None].astype(np.float32), format="fltp", layout="mono")
        frame.sample_rate = 16_000
        for part in av.AudioResampler("fltp", "mono", 16_000, frame_size=576).resample(frame):
            container.mux(stream.encode(part))
        container.mux(stream.encode())
    assert Speech("bare.mp3", tmp_path / "bare.mp3").survey().warning == ""


def film(path: Path) -> Path:
    """3 s of picture in Matroska, of which the middle one has sound."""
    with av.open(path, "w") as container:
        picture = container.add_stream("libx264", rate=5)
        picture.width = picture.height = 16
        picture.pix_fmt = "yuv420p"
        sound = container.add_stream("pcm_s16le", rate=16_000, layout="mono")
        for number in range(15):
            frame = av.VideoFrame.from_ndarray(np.zeros((16, 16, 3), np.uint8), format="rgb24")
            frame.pts = number
            container.mux(picture.encode(frame))
        container.mux(picture.encode())
        samples = (tone(1, 16_000)[None] * 32767).astype(np.int16)
        heard = av.AudioFrame.from_ndarray(samples, format="s16", layout="mono")
        heard.sample_rate, heard.pts, heard.time_base = 16_000, 16_000, Fraction(1, 16_000)
        container.mux(sound.encode(heard))
        container.mux(sound.encode())
    return path


def untagged(path: Path) -> Path:
    """As browsers write it: no track says when it ends, the file alone does."""
    path.write_bytes(path.read_bytes().replace(b"DURATION", b"SOMETHIN"))
    return path


@pytest.mark.parametrize("written", [lambda path: path, untagged])
def test_sound_that_begins_late_and_ends_before_the_picture_is_whole(tmp_path, written):
    found = Speech("film.mkv", written(film(tmp_path / "film.mkv"))).survey()
    assert (float(found.duration_s), found.warning) == (1.0, "")


def test_of_sound_alone_the_file_says_the_length(tmp_path):
    path = untagged(record(tmp_path / "browser.webm", *TELLING["browser.webm"], seconds=4))
    assert Speech("mine", path).survey().warning == ""
    assert "says that it lasts 4.0 s" in Speech("mine", cut(path)).survey().warning


@pytest.mark.parametrize("rate_hz", [8_000, 44_100, 48_000])
def test_a_film_of_ours_is_a_recording_of_as_many_frames(tmp_path, rate_hz):
    soundfile.write(tmp_path / "talk.wav", tone(1, rate_hz), rate_hz)
    sound = SoundTrack(rate_hz, 1)
    for _ in Speech("talk.wav", tmp_path / "talk.wav").pieces(sound):
        pass
    film = Mp4Film(tmp_path / "talk.mp4", (16, 16), sound, {})
    film.write(torch.zeros(25, 3, 16, 16, dtype=torch.uint8))
    film.end_window()
    film.finish()
    film.close()
    speech = Speech("talk.mp4", tmp_path / "talk.mp4")
    found = speech.survey()
    assert (found.frames, found.warning) == (25, "")
    assert sum(map(len, speech.pieces(SoundTrack(rate_hz, 1), found))) == 16_000


def test_sound_far_beyond_the_end_that_a_header_gives_is_heard(tmp_path):
    path = record(tmp_path / "phone.m4a", *FORMS["phone.m4a"], seconds=2)
    before, name, after = path.read_bytes().partition(b"mdhd")
    path.write_bytes(before + name + after[:16] + (48_000).to_bytes(4, "big") + after[20:])
    with av.open(path) as container:
        assert container.streams.audio[0].duration == 48_000
    assert Speech("phone.m4a", path).survey().duration_s > 2
