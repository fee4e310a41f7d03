"""Small videos whose frames show their own number, in every awkward form that FFmpeg writes."""

import io
from collections.abc import Sequence
from dataclasses import dataclass, field
from fractions import Fraction

import av
import numpy as np

from hallo3_lightning.geometry import SAMPLE_RATE_HZ

BITS = 8
SIZE = (48, 32)
"""Width and height."""

MILLISECONDS = Fraction(1, 1000)

COUNT = 30
"""Frames of most videos."""


def x264(parameters: str) -> dict[str, str]:
    return {"x264-params": f"{parameters}:keyint=8:scenecut=0"}


GOPS = {
    "no b-frames": {"g": "8", "bf": "0"},
    "b-frames": {"g": "8", "bf": "3"},
    "open": x264("open-gop=1:bframes=3:b-adapt=0"),
    "intra refresh": x264("intra-refresh=1:bframes=0"),
    "one key frame": {"g": "1000", "bf": "2"},
}


@dataclass(frozen=True)
class Sound:
    """A track: when its first sample is heard, its samples [channels, S] int16, and their rate."""

    samples: np.ndarray
    rate_hz: int = 16_000
    start_s: Fraction = Fraction(0)
    codec: str = "aac"


@dataclass(frozen=True)
class Form:
    """How a video is written."""

    container: str = "mp4"
    codec: str = "libx264"
    pixels: str = "yuv420p"
    size: tuple[int, int] = SIZE
    options: dict[str, str] = field(default_factory=lambda: {"g": "10"})
    muxer: dict[str, str] = field(default_factory=dict)
    time_base: Fraction = Fraction(1, 90_000)
    rate: Fraction = Fraction(25)
    """Written into the header, and how long the last frame stays."""
    rotation: tuple[float, bool, bool] | None = None
    """Degrees, then mirrored left to right, then up and down."""
    seekable: bool = True


def barcode(number: int, size: tuple[int, int] = SIZE) -> np.ndarray:
    """[H, W, 3]: one column a bit, the lowest at the left; a darker stripe above says which way is up."""
    width, height = size
    bits = (number >> (np.arange(width) * BITS // width)) & 1
    image = np.repeat(np.where(bits, 235, 20).astype(np.uint8)[None, :, None], height, axis=0)
    image[: height // 4] = image[: height // 4] // 2
    return np.repeat(image, 3, axis=2)


def number_of(image: np.ndarray) -> int:
    """The number on a frame; asserts that it is upright."""
    height, width, _ = image.shape
    centres = ((np.arange(BITS) + 0.5) * width / BITS).astype(int)
    rows = image[height // 2 :].mean(axis=(0, 2))[centres]
    bits = rows > 128
    top = image[: height // 8].mean(axis=(0, 2))[centres]
    assert all(upper < 0.75 * lower for upper, lower in zip(top[bits], rows[bits], strict=True)), "not upright"
    return int((bits << np.arange(BITS)).sum())


def video(times: Sequence[Fraction | int], form: Form = Form(), sound: Sound | None = None) -> bytes:
    """A file that shows barcode i at times[i] seconds."""
    buffer = io.BytesIO() if form.seekable else _Stream()
    with av.open(buffer, "w", format=form.container, container_options=form.muxer) as container:
        stream = container.add_stream(form.codec, rate=form.rate, options=form.options)
        stream.width, stream.height = form.size
        stream.pix_fmt = form.pixels
        stream.codec_context.time_base = form.time_base
        if form.rotation is not None:
            stream.set_display_rotation(*form.rotation)
        track = None if sound is None else container.add_stream(sound.codec, rate=sound.rate_hz, layout=_layout(sound))
        for packet in _pictures(stream, times, form):
            container.mux(packet)
        if track is not None:
            for packet in _sounds(track, sound):
                container.mux(packet)
    return buffer.getvalue()


def steady(count: int, fps: Fraction | int = 25, start_s: Fraction | int = 0) -> list[Fraction]:
    return [Fraction(start_s) + Fraction(i) / fps for i in range(count)]


class _Stream(io.RawIOBase):
    """A pipe that keeps what goes through: a muxer cannot go back in it to fill in a length."""

    def __init__(self) -> None:
        self.chunks: list[bytes] = []

    def writable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return False

    def write(self, chunk) -> int:
        self.chunks.append(bytes(chunk))
        return len(chunk)

    def getvalue(self) -> bytes:
        return b"".join(self.chunks)


def _layout(sound: Sound) -> str:
    return "mono" if len(sound.samples) == 1 else "stereo"


def _pictures(stream, times, form: Form):
    for number, time in enumerate(times):
        frame = av.VideoFrame.from_ndarray(barcode(number, form.size), format="rgb24").reformat(format=form.pixels)
        frame.pts, frame.time_base = round(time / form.time_base), form.time_base
        yield from stream.encode(frame)
    yield from stream.encode()


def _sounds(stream, sound: Sound):
    frame = av.AudioFrame.from_ndarray(
        np.ascontiguousarray(sound.samples.T.reshape(1, -1)), format="s16", layout=_layout(sound)
    )
    frame.sample_rate, frame.time_base = sound.rate_hz, Fraction(1, sound.rate_hz)
    frame.pts = round(sound.start_s * sound.rate_hz)
    yield from stream.encode(frame)
    yield from stream.encode()


def numbers(frames: np.ndarray) -> list[int]:
    return [number_of(frame) for frame in frames]


def clicks(seconds: list[float], rate_hz: int = SAMPLE_RATE_HZ, length_s: float = COUNT / 25) -> np.ndarray:
    """[1, S]: 10 ms of a loud 1 kHz tone from each of these times on, silence else."""
    time = np.arange(round(length_s * rate_hz)) / rate_hz
    inside = np.any([(time >= s) & (time < s + 0.01) for s in seconds], axis=0)
    return (20_000 * np.sin(2 * np.pi * 1000 * time) * inside).astype(np.int16)[None]


def loud(sound: np.ndarray) -> list[float]:
    """Seconds at which sound begins after silence."""
    above = np.flatnonzero(np.abs(sound.astype(int)) > 4000)
    begins = above[np.diff(above, prepend=-(10**6)) > SAMPLE_RATE_HZ // 20]
    return (begins / SAMPLE_RATE_HZ).tolist()


TIMES = [0.2, 0.52, 0.96]
"""Seconds of clicks."""
