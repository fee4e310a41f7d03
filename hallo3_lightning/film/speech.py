"""Speech of any format, rate and length as 16 kHz mono, a piece at a time."""

import errno
import hashlib
import math
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any, NoReturn, Protocol

import av
import av.logging
import numpy as np
from av.container import InputContainer
from einops import rearrange

from datamodules.video.sound_track import is_finite
from datamodules.video.untrusted_video import CONTAINERS
from hallo3_lightning.errors import UsageError
from hallo3_lightning.film.files.sound_track import SoundTrack
from hallo3_lightning.film.told_length import broken_off, without_padding
from hallo3_lightning.geometry import FPS, SAMPLE_RATE_HZ

FORMATS = f"{CONTAINERS},wav,w64,mp3,ogg,flac,aac,aiff,au,amr,caf,ac3,eac3,asf,wv,tta,flv,voc,s16le"
"""FFmpeg's names. Those of playlists are not among them: they open other files."""

PIPE = "-"
"""As a name of a file: standard input."""

LOUDEST = 1 << 16
"""In full scales: what was written as 16-bit numbers into a file of floats is only clipped. AAC takes no more than 1e16."""

LOWEST_HZ, HIGHEST_HZ = 4_000, 768_000
"""Rates of recordings. Below, a few bytes would be an hour of film; above, FFmpeg takes gigabytes to resample."""


class Readable(Protocol):
    def read(self, size: int = -1, /) -> bytes | None:
        """At most that many bytes; fewer where no more are there yet."""


@dataclass(frozen=True)
class Heard:
    """What a file of speech turned out to hold."""

    duration_s: Fraction
    rate_hz: int
    channels: int
    digest: str
    """SHA-256 of the file's bytes."""
    warning: str = ""
    """One sentence for the user where there is less than the file says; empty where it is whole."""

    @property
    def frames(self) -> int:
        """Of video, until the sound has ended."""
        return math.ceil(self.duration_s * FPS)


@dataclass(frozen=True)
class Speech:
    """A recording: a file, or what comes through a pipe.

    Args:
        name: what the user called it, for messages.
        source: the file, or the open pipe, which can be listened to once.
        pcm_hz: where the pipe carries bare signed 16-bit mono samples instead of a file, their rate.
    """

    name: str
    source: Path | Readable
    pcm_hz: int | None = None

    def survey(self) -> Heard:
        """Decode a file once, and keep nothing of it. Raises UsageError where there is nothing to hear."""
        assert isinstance(self.source, Path)
        duration_s, first = Fraction(0), None
        with self._opened() as container:
            for frame in self._decoded(container):
                duration_s += Fraction(frame.samples, frame.sample_rate)
                first = first or (frame.sample_rate, frame.layout.nb_channels)
            if first is None or duration_s == 0:
                raise UsageError(f"--audio {self.name} has no sound in it, its length is zero; record it again")
            warning = broken_off(self.name, self.source, container, duration_s)
            duration_s = without_padding(container, duration_s)
        return Heard(duration_s, *first, _digest(self.source), warning)

    def pieces(self, sound: SoundTrack | None = None, heard: Heard | None = None) -> Iterator[np.ndarray]:
        """The speech from its beginning: float32 [S] in [-1, 1] at 16 kHz, mono, S as it comes; `sound` hears it too.

        heard: what a survey found; then the pieces are as long together, and what fills the file behind them is left out.
        Numbers are those of `datamodules.video.sound_track`, which made the training data. Raises UsageError where it
        cannot be decoded.
        """
        left = None if heard is None else math.ceil(heard.duration_s * SAMPLE_RATE_HZ)
        for piece in self._resampled(sound):
            kept = piece[:left]
            if left is not None:
                left -= len(kept)
            if len(kept):
                yield kept

    def _resampled(self, sound: SoundTrack | None) -> Iterator[np.ndarray]:
        resampler, kind = None, None
        for frame in self._frames():
            if sound is not None:
                sound.hear(frame)
            if kind != (kind := _kind(frame)):
                yield from _samples(resampler, None)
                resampler = av.AudioResampler(format="s16", layout="mono", rate=SAMPLE_RATE_HZ)
            yield from _samples(resampler, frame)
        if sound is not None:
            sound.end()
        yield from _samples(resampler, None)

    def _frames(self) -> Iterator[av.AudioFrame]:
        with self._opened() as container:
            yield from self._decoded(container)

    def _decoded(self, container: InputContainer) -> Iterator[av.AudioFrame]:
        if not container.streams.audio:
            raise UsageError(f"--audio {self.name} has no sound track; give a recording, or a video with sound")
        kind = None
        for frame in container.decode(container.streams.audio[0]):
            frame.pts = None  # samples are counted: a hole in the stamps would part sound from picture
            if kind != (kind := _kind(frame)) and not _can_be_mixed(frame):
                raise UsageError(
                    f"--audio {self.name} says that its sound is '{frame.layout.name}' at {frame.sample_rate} Hz; expected "
                    f"channels that FFmpeg can mix (mono, stereo, 5.1, up to 22.2) at {LOWEST_HZ} to {HIGHEST_HZ} Hz: export "
                    "it again, mono or stereo at 48000 Hz"
                )
            if not is_finite(frame, LOUDEST):
                raise UsageError(
                    f"--audio {self.name} holds numbers that are not finite, or beyond {LOUDEST} times full scale; export "
                    "it again"
                )
            yield frame

    @contextmanager
    def _opened(self) -> Iterator[InputContainer]:
        bare: dict[str, Any] = {}
        if self.pcm_hz is not None:
            bare = {"format": "s16le", "options": {"sample_rate": str(self.pcm_hz), "ch_layout": "mono"}}
        file = self._file()
        try:
            with file, av.open(
                file, "r", container_options=_limits(), metadata_errors="replace", io_open=_refuse, **bare
            ) as container:  # fmt: skip
                yield container
        except av.FFmpegError as error:
            if isinstance(file, _Pipe) and file.is_ended_by_hand:
                raise KeyboardInterrupt from error
            unread = isinstance(self.source, Path) and error.errno == errno.EINVAL and _form_not_read(self.source)
            if unread:
                raise UsageError(
                    f"--audio {self.name} cannot be decoded: FFmpeg takes it for {unread}, which is not among the formats that "
                    f"are read ({FORMATS.replace(',', ', ')}); convert it to one of them"
                ) from error
            raise UsageError(
                f"--audio {self.name} cannot be decoded (FFmpeg says: {error.strerror}): it is cut off, damaged or no "
                "recording; copy it again, or give a wav, mp3, m4a, ogg or flac, or a video with sound"
            ) from error

    def _file(self) -> Any:
        """What FFmpeg reads. Raises UsageError for a path that cannot be read twice, or not at all."""
        if not isinstance(self.source, Path):
            return _Pipe(self.source)
        try:
            if self.source.exists() and not self.source.is_file() and not self.source.is_dir():
                raise UsageError(
                    f"--audio {self.name} is a pipe or a device, and a recording is read twice; pipe it into --audio -"
                )
            return self.source.open("rb")
        except OSError as error:  # not there, a folder, a ring of links, not ours to read
            raise UsageError(
                f"no recording at --audio '{self.name}' ({error.strerror}); name a sound file, or - for standard input"
            ) from error


class _Pipe:
    """What FFmpeg reads from: it gets what there is, and does not wait for a buffer to fill.

    Ctrl-C while it waits is the end of the speech: whatever is no Exception, PyAV drops on the way through FFmpeg, which
    would then wait again.
    """

    def __init__(self, source: Readable) -> None:
        self.source, self.is_ended_by_hand = source, False

    def read(self, size: int) -> bytes:
        if self.is_ended_by_hand:
            return b""
        try:
            return self.source.read(size) or b""
        except KeyboardInterrupt:
            self.is_ended_by_hand = True
            return b""

    def __enter__(self) -> "_Pipe":
        return self

    def __exit__(self, *_: object) -> None:
        """It is not ours to close."""


def _limits() -> dict[str, str]:
    """Two walls: some playlists are stopped by their form and by the protocol alone, and never ask `io_open`."""
    return {"format_whitelist": FORMATS, "protocol_whitelist": "none"}


def _form_not_read(path: Path) -> str | None:
    """FFmpeg's name of a file's form where that is none of FORMATS, which it tells in its log alone."""
    before = av.logging.get_level(), av.logging.get_skip_repeated()
    av.logging.set_level(av.logging.ERROR)
    av.logging.set_skip_repeated(False)  # it says the same of every such file
    try:
        with av.logging.Capture() as log, suppress(av.FFmpegError), path.open("rb") as file:
            av.open(file, container_options=_limits(), io_open=_refuse).close()
    finally:
        av.logging.set_level(before[0])
        av.logging.set_skip_repeated(before[1])
    return next((form for _, form, told in log if "whitelist" in told), None)


def _refuse(url: str, flags: int, options: dict[str, Any]) -> NoReturn:
    raise UsageError("--audio asks for another file, which is never opened; give the recording itself")


def _kind(frame: av.AudioFrame) -> tuple[int, str, str]:
    return frame.sample_rate, frame.layout.name, frame.format.name


def _can_be_mixed(frame: av.AudioFrame) -> bool:
    """Whether FFmpeg makes mono of such sound, which it says by trying."""
    if not LOWEST_HZ <= frame.sample_rate <= HIGHEST_HZ:
        return False
    silence = av.AudioFrame(frame.format.name, frame.layout.name, 1)  # trying changes what is tried
    silence.sample_rate = frame.sample_rate
    try:
        av.AudioResampler(format="s16", layout="mono", rate=SAMPLE_RATE_HZ).resample(silence)
    except av.FFmpegError:
        return False
    return True


def _samples(resampler: av.AudioResampler | None, frame: av.AudioFrame | None) -> Iterator[np.ndarray]:
    if resampler is None:
        return
    for chunk in resampler.resample(frame):
        yield rearrange(chunk.to_ndarray(), "1 samples -> samples") / np.float32(32768)


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
