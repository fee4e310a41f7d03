"""Speech of any format, rate and length as 16 kHz mono, a piece at a time."""

import errno
import hashlib
import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any, NoReturn, Protocol

import av
import numpy as np
from av.container import InputContainer
from einops import rearrange

from datamodules.video.sound_track import is_finite
from datamodules.video.untrusted_video import CONTAINERS
from hallo3_lightning.animation.sound_track import SoundTrack
from hallo3_lightning.animation.told_length import broken_off
from hallo3_lightning.errors import UsageError
from hallo3_lightning.geometry import FPS, SAMPLE_RATE_HZ

FORMATS = f"{CONTAINERS},wav,w64,mp3,ogg,flac,aac,aiff,au,amr,caf,ac3,eac3,asf,wv,tta,s16le"
"""FFmpeg's names. Those of playlists are not among them: they open other files."""

PIPE = "-"
"""As a name of a file: standard input."""

LOUDEST = 1 << 16
"""In full scales: what was written as 16-bit numbers into a file of floats is only clipped. AAC takes no more than 1e16."""


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
        for frame in self._frames():
            duration_s += Fraction(frame.samples, frame.sample_rate)
            first = first or (frame.sample_rate, frame.layout.nb_channels)
        if first is None or duration_s == 0:
            raise UsageError(f"--audio {self.name} has no sound in it, its length is zero; record it again")
        with self._opened() as container:
            warning = broken_off(self.source, container, duration_s)
        return Heard(duration_s, *first, _digest(self.source), warning)

    def pieces(self, sound: SoundTrack | None = None) -> Iterator[np.ndarray]:
        """The speech from its beginning: float32 [S] in [-1, 1] at 16 kHz, mono, S as it comes; `sound` hears it too.

        Numbers are those of `datamodules.video.sound_track`, which made the training data. Raises UsageError where it
        cannot be decoded.
        """
        resampler, kind = None, None
        for frame in self._frames():
            if sound is not None:
                sound.hear(frame)
            if kind != (kind := (frame.sample_rate, frame.layout.name, frame.format.name)):
                yield from _samples(resampler, None)
                resampler = av.AudioResampler(format="s16", layout="mono", rate=SAMPLE_RATE_HZ)
            yield from _samples(resampler, frame)
        if sound is not None:
            sound.end()
        yield from _samples(resampler, None)

    def _frames(self) -> Iterator[av.AudioFrame]:
        with self._opened() as container:
            if not container.streams.audio:
                raise UsageError(f"--audio {self.name} has no sound track; give a recording, or a video with sound")
            for frame in container.decode(container.streams.audio[0]):
                if not is_finite(frame, LOUDEST):
                    raise UsageError(
                        f"--audio {self.name} holds numbers that are not finite, or beyond {LOUDEST} times full scale; export "
                        "it again"
                    )
                frame.pts = None  # samples are counted: a hole in the stamps would part sound from picture
                yield frame

    @contextmanager
    def _opened(self) -> Iterator[InputContainer]:
        limits = {"format_whitelist": FORMATS, "protocol_whitelist": "none"}
        bare: dict[str, Any] = {}
        if self.pcm_hz is not None:
            bare = {"format": "s16le", "options": {"sample_rate": str(self.pcm_hz), "ch_layout": "mono"}}
        file = _opened_file(self.source)
        try:
            with file, av.open(
                file, "r", container_options=limits, metadata_errors="replace", io_open=_refuse, **bare
            ) as container:  # fmt: skip
                yield container
        except av.FFmpegError as error:
            if isinstance(file, _Pipe) and file.is_ended_by_hand:
                raise KeyboardInterrupt from error
            raise UsageError(
                f"--audio {self.name} cannot be decoded (FFmpeg says: {error.strerror}); give a wav, mp3, m4a, ogg or flac, "
                "or a video with sound"
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


def _opened_file(source: Path | Readable) -> Any:
    if not isinstance(source, Path):
        return _Pipe(source)
    try:
        return source.open("rb")
    except OSError as error:
        if error.errno not in (errno.ENOENT, errno.EISDIR, errno.ENOTDIR):
            raise
        raise UsageError(f"no recording at --audio {source}; name a sound file, or - for standard input") from error


def _refuse(url: str, flags: int, options: dict[str, Any]) -> NoReturn:
    raise UsageError("--audio asks for another file, which is never opened; give the recording itself")


def _samples(resampler: av.AudioResampler | None, frame: av.AudioFrame | None) -> Iterator[np.ndarray]:
    if resampler is None:
        return
    for chunk in resampler.resample(frame):
        yield rearrange(chunk.to_ndarray(), "1 samples -> samples") / np.float32(32768)


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
