"""Recordings of any form as 16 kHz mono: a tone must come out as that tone, as long as it was."""

import io
import os
import struct
import tracemalloc
from fractions import Fraction
from pathlib import Path

import av
import av.logging
import numpy as np
import pytest
import soundfile

from hallo3_lightning.errors import UsageError
from hallo3_lightning.film import speech as speech_module
from hallo3_lightning.film.files.sound_track import SoundTrack
from hallo3_lightning.film.speech import Speech

TONE_HZ = 440.0

FORMS = {
    "low.wav": ("pcm_s16le", 8_000, "mono"),
    "high.wav": ("pcm_f32le", 96_000, "stereo"),
    "packed.mp3": ("libmp3lame", 44_100, "stereo"),
    "phone.m4a": ("aac", 48_000, "mono"),
    "chat.ogg": ("libopus", 48_000, "mono"),
    "album.flac": ("flac", 22_050, "mono"),
    "old.aiff": ("pcm_s16be", 11_025, "stereo"),
    "web.flv": ("aac", 44_100, "stereo"),
    "game.voc": ("pcm_s16le", 44_100, "mono"),
}


def tone(seconds: float, rate_hz: int) -> np.ndarray:
    return (0.5 * np.sin(2 * np.pi * TONE_HZ * np.arange(round(seconds * rate_hz)) / rate_hz)).astype(np.float32)


def record(path: Path, codec: str, rate_hz: int, layout: str, seconds: float = 1.5) -> Path:
    with av.open(path, "w") as container:
        stream = container.add_stream(codec, rate=rate_hz, layout=layout)
        samples = np.repeat(tone(seconds, rate_hz)[None], 2 if layout == "stereo" else 1, axis=0)
        frame = av.AudioFrame.from_ndarray(samples, format="fltp", layout=layout)
        frame.sample_rate = rate_hz
        size = stream.codec_context.frame_size or 1024
        resampler = av.AudioResampler(stream.codec_context.format, layout, rate_hz, frame_size=size)
        for part in [*resampler.resample(frame), *resampler.resample(None)]:
            container.mux(stream.encode(part))
        container.mux(stream.encode())
    return path


def heard(speech: Speech) -> np.ndarray:
    return np.concatenate(list(speech.pieces()))


@pytest.mark.parametrize("name", FORMS)
def test_every_form_is_heard_as_it_was_spoken(tmp_path, name):
    codec, rate_hz, layout = FORMS[name]
    speech = Speech(name, record(tmp_path / name, codec, rate_hz, layout))
    found = speech.survey()
    samples = np.concatenate(list(speech.pieces(heard=found)))
    assert (found.rate_hz, found.channels) == (rate_hz, 2 if layout == "stereo" else 1)
    assert found.warning == ""
    assert float(found.duration_s) == pytest.approx(1.5, abs=0.06)  # some forms are filled up to whole packets
    assert len(samples) / 16_000 == pytest.approx(float(found.duration_s), abs=1e-3)
    spectrum = np.abs(np.fft.rfft(samples[:16_000]))
    assert int(spectrum.argmax()) == pytest.approx(TONE_HZ, abs=1)
    assert np.sqrt(np.mean(samples[4_000:20_000] ** 2)) == pytest.approx(0.5 / np.sqrt(2), rel=0.1)


def test_a_video_with_sound_is_a_recording_too(tmp_path):
    with av.open(tmp_path / "talk.mp4", "w") as container:
        picture = container.add_stream("libx264", rate=25)
        picture.width = picture.height = 16
        picture.pix_fmt = "yuv420p"
        sound = container.add_stream("aac", rate=32_000, layout="mono")
        for number in range(25):
            frame = av.VideoFrame.from_ndarray(np.zeros((16, 16, 3), np.uint8), format="rgb24")
            frame.pts = number
            container.mux(picture.encode(frame))
        samples = av.AudioFrame.from_ndarray(tone(1, 32_000)[None], format="fltp", layout="mono")
        samples.sample_rate = 32_000
        container.mux(sound.encode(samples))
        container.mux(picture.encode())
        container.mux(sound.encode())
    assert Speech("talk.mp4", tmp_path / "talk.mp4").survey().rate_hz == 32_000


@pytest.mark.parametrize(("samples", "frames"), [(1, 1), (4_800, 8), (16_000, 25), (16_001, 26)])
def test_a_film_lasts_until_the_sound_has_ended(tmp_path, samples, frames):
    soundfile.write(tmp_path / "short.wav", np.zeros(samples, np.int16), 16_000)
    assert Speech("short.wav", tmp_path / "short.wav").survey().frames == frames


@pytest.mark.parametrize(("sample", "refused"), [(1e30, True), (-1e30, True), (32767.0, False), (-3.0, False)])
def test_a_sample_may_be_too_loud_but_not_beyond_measure(tmp_path, sample, refused):
    soundfile.write(tmp_path / "loud.wav", np.full(4_000, sample, np.float32), 16_000, subtype="FLOAT")
    speech, track = Speech("loud.wav", tmp_path / "loud.wav"), SoundTrack(16_000, 1)
    if refused:
        with pytest.raises(UsageError, match="times full scale"):
            speech.survey()
    else:
        assert np.abs(np.concatenate(list(speech.pieces(track)))).max() > 0.99


def test_sound_of_no_length_and_of_no_numbers_is_refused(tmp_path):
    soundfile.write(tmp_path / "empty.wav", np.zeros(0, np.int16), 16_000)
    with pytest.raises(UsageError, match="its length is zero"):
        Speech("empty.wav", tmp_path / "empty.wav").survey()
    soundfile.write(tmp_path / "nan.wav", np.full(100, np.nan, np.float32), 16_000, subtype="FLOAT")
    with pytest.raises(UsageError, match="not finite"):
        Speech("nan.wav", tmp_path / "nan.wav").survey()
    (tmp_path / "text.wav").write_text("not a sound")
    with pytest.raises(UsageError, match="cannot be decoded"):
        Speech("text.wav", tmp_path / "text.wav").survey()


def noise(channels: int, rate_hz: int) -> bytes:
    """A wav of 8000 bytes that says so."""
    frame = 2 * channels
    told = struct.pack("<IHHIIHH", 16, 1, channels, rate_hz, rate_hz * frame % 2**32, frame, 16)
    data = np.random.default_rng(0).bytes(8000 // frame * frame)
    return (
        b"RIFF" + struct.pack("<I", 36 + len(data)) + b"WAVEfmt " + told + b"data" + struct.pack("<I", len(data)) + data
    )


@pytest.mark.parametrize("channels", [*range(1, 9), 10, 12, 14, 16, 24])
def test_as_many_channels_as_can_be_mixed_are_heard(tmp_path, channels):
    (tmp_path / "many.wav").write_bytes(noise(channels, 16_000))
    speech = Speech("many.wav", tmp_path / "many.wav")
    assert speech.survey().channels == channels
    assert len(np.concatenate(list(speech.pieces(SoundTrack(16_000, channels))))) == 4000 // channels


@pytest.mark.parametrize(
    ("channels", "rate_hz"),
    [(9, 16_000), (64, 16_000), (255, 16_000)]
    + [(1, 1), (1, 3), (2, 3_999), (1, 768_001), (1, 20_000_000), (1, 2**31 - 1)],
)
def test_channels_and_rates_that_are_no_speech_are_one_sentence(tmp_path, channels, rate_hz):
    (tmp_path / "odd.wav").write_bytes(noise(channels, rate_hz))
    told = f"odd.wav says that its sound is '.*' at {rate_hz} Hz; expected channels .* at 4000 to 768000 Hz: export it again"
    speech = Speech("odd.wav", tmp_path / "odd.wav")
    with pytest.raises(UsageError, match=told):
        speech.survey()
    with pytest.raises(UsageError, match=told):  # what comes through a pipe is not surveyed
        next(Speech("odd.wav", io.BytesIO(noise(channels, rate_hz))).pieces(SoundTrack(48_000, 2)))


@pytest.mark.parametrize("level", [None, av.logging.PANIC])
def test_a_form_that_is_not_read_is_named_and_so_are_those_that_are(tmp_path, level, capfd):
    record(tmp_path / "talk.nut", "pcm_s16le", 16_000, "mono").rename(tmp_path / "talk.wav")
    av.logging.set_level(level)
    with pytest.raises(
        UsageError, match=r"FFmpeg takes it for nut, which is not among the formats .*\(mov, mp4, .*tta"
    ):
        Speech("talk.wav", tmp_path / "talk.wav").survey()
    assert av.logging.get_level() == level
    av.logging.set_level(None)
    assert capfd.readouterr() == ("", "")


def test_a_playlist_opens_no_other_file(tmp_path):
    soundfile.write(tmp_path / "secret.wav", np.zeros(100, np.int16), 16_000)
    (tmp_path / "list.wav").write_text(f"ffconcat version 1.0\nfile {tmp_path / 'secret.wav'}\n")
    with pytest.raises(UsageError, match="cannot be decoded"):
        Speech("list.wav", tmp_path / "list.wav").survey()


@pytest.mark.parametrize(("form", "told"), [("concat", "cannot be decoded"), ("m3u8", "asks for another file")])
def test_even_a_playlist_that_were_read_would_open_no_other_file(tmp_path, monkeypatch, form, told):
    monkeypatch.setattr(speech_module, "FORMATS", f"{speech_module.FORMATS},concat,hls")
    record(tmp_path / "secret.mp3", *FORMS["packed.mp3"])
    (tmp_path / "list.concat").write_text("ffconcat version 1.0\nfile secret.mp3\n")
    (tmp_path / "list.m3u8").write_text("#EXTM3U\n#EXT-X-TARGETDURATION:2\n#EXTINF:2,\nsecret.mp3\n#EXT-X-ENDLIST\n")
    with pytest.raises(UsageError, match=told):
        Speech("list", tmp_path / f"list.{form}").survey()


def piped(path: Path) -> None:
    os.mkfifo(path)


@pytest.mark.parametrize(
    ("make", "told"),
    [
        (piped, "is a pipe or a device, .* pipe it into --audio -"),
        (lambda path: path.symlink_to("/dev/null"), "a device"),
    ]
    + [(lambda path: path.symlink_to(path), "no recording at --audio 'talk.wav' .Too many levels")]
    + [(lambda path: path.mkdir(), ".Is a directory"), (lambda path: None, ".No such file .* name a sound file, or -")],
)
def test_what_is_no_file_is_not_waited_for(tmp_path, make, told):
    make(tmp_path / "talk.wav")
    with pytest.raises(UsageError, match=told):
        Speech("talk.wav", tmp_path / "talk.wav").survey()


@pytest.mark.parametrize("name", ["http://example.com/a.wav", ""])
def test_a_recording_that_is_not_there_is_called_as_it_was_typed(name):
    with pytest.raises(UsageError, match=f"^no recording at --audio '{name}'"):
        Speech(name, Path(name)).survey()


class Arriving:
    """A pipe that gives what has been written to it, and says how much was read."""

    def __init__(self, data: bytes, at_once: int) -> None:
        self.data, self.at_once = io.BytesIO(data), at_once

    def read(self, size: int = -1, /) -> bytes:
        return self.data.read(min(size, self.at_once))


def test_bare_samples_come_through_a_pipe_soon_after_they_were_spoken():
    spoken = (tone(4, 16_000) * 32767).astype("<i2")
    pipe = Arriving(spoken.tobytes(), at_once=640)
    pieces = Speech("-", pipe, pcm_hz=16_000).pieces()
    first = next(pieces)
    assert pipe.data.tell() / 2 <= 16_000 * 0.5  # of what was spoken, so much was needed
    whole = np.concatenate([first, *pieces])
    np.testing.assert_allclose(whole, spoken / 32768, atol=2e-5)


class Interrupted(Arriving):
    """A pipe that somebody presses Ctrl-C at when it has given all it had."""

    interrupts = 0

    def read(self, size: int = -1, /) -> bytes:
        data = super().read(size)
        if data or self.interrupts:
            return data
        self.interrupts += 1
        raise KeyboardInterrupt


def test_an_interrupt_ends_speech_that_is_waited_for():
    spoken = (tone(2, 16_000) * 32767).astype("<i2")
    pipe = Interrupted(spoken.tobytes(), at_once=640)
    reads = []
    pipe.read = lambda size, read=pipe.read: reads.append(pipe.interrupts) or read(size)
    found = heard(Speech("-", pipe, pcm_hz=16_000))
    np.testing.assert_allclose(found, spoken / 32768, atol=2e-5)
    assert reads.count(1) == 0  # it is not waited for again


def test_an_interrupt_before_speech_can_be_told_is_no_damage():
    with pytest.raises(KeyboardInterrupt):
        list(Speech("-", Interrupted(b"RIFF", at_once=640)).pieces())


def test_a_file_comes_through_a_pipe_like_a_file(tmp_path):
    path = record(tmp_path / "talk.flac", "flac", 22_050, "mono")
    through = Speech("-", Arriving(path.read_bytes(), at_once=1000))
    assert np.array_equal(heard(through), heard(Speech("talk.flac", path)))


def test_memory_does_not_grow_with_length(tmp_path):
    peaks = []
    for minutes in (1, 4):
        path = tmp_path / f"{minutes}.wav"
        soundfile.write(path, np.zeros(minutes * 60 * 16_000, np.int16), 16_000)
        tracemalloc.start()
        for _ in Speech(path.name, path).pieces():
            pass
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert peaks[1] < 1.05 * peaks[0] + 10_000


def test_the_sound_track_is_the_same_however_far_it_is_read_ahead(tmp_path):
    path = record(tmp_path / "talk.wav", "pcm_s16le", 44_100, "stereo")

    def packets(step_s: Fraction) -> list[bytes]:
        track, taken, at_s = SoundTrack(44_100, 2), [], Fraction(0)
        for _ in Speech("talk.wav", path).pieces(track):
            at_s += step_s
            taken += [bytes(packet) for packet in track.until(at_s)]
        return taken + [bytes(packet) for packet in track.until(None)]

    assert packets(Fraction(0)) == packets(Fraction(1, 100))
    assert len(packets(Fraction(1))) == pytest.approx(1.5 * 44_100 / 1024, abs=3)
