"""Which frame of a video file is shown at each frame of the 25 fps grid."""

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction

import numpy as np

from datamodules.video.video_fault import VideoFault
from hallo3_lightning.geometry import FPS, seconds


@dataclass(frozen=True)
class Stamp:
    """What a packet of a video track says of its frame, in units of the track's time base."""

    time: int
    decoded_at: int
    """Its place in the order of decoding."""
    duration: int
    is_key: bool
    is_hidden: bool
    """Decoded for the sake of others and never shown: cut off by an edit list."""


@dataclass(frozen=True)
class FrameGrid:
    """The F frames of a video at 25 a second, by the time stamps of the file's own frames."""

    shown: np.ndarray
    """[F] int64, not decreasing: time stamp of the file's frame that is output frame k."""
    keys: tuple[Stamp, ...]
    """Where decoding can begin, in the order of decoding."""
    times: tuple[int, ...]
    """Time stamps of the frames that the file shows, in the order shown."""
    time_base: Fraction
    """Seconds a unit."""
    units: int
    """Length of the video."""

    @property
    def duration_s(self) -> Fraction:
        return self.units * self.time_base

    @property
    def start_s(self) -> Fraction:
        """When the first frame is shown, on the clock that the file's sound shares."""
        return int(self.shown[0]) * self.time_base

    def starts(self, time: int) -> tuple[Stamp, ...]:
        """Where to begin decoding for the frame of that time stamp: at the last key frame shown by then.

        Frames that follow a key frame in the file and are shown before it lean on the key frame before. Should a
        decoder need a longer run-up than the file says (periodic intra refresh), the beginning of the file is second.
        """
        before = [key for key in self.keys if key.time <= time]
        nearest = max(before, key=lambda key: key.time)
        return (nearest,) if nearest is self.keys[0] else (nearest, self.keys[0])


def frame_grid(stamps: Sequence[Stamp], time_base: Fraction) -> FrameGrid:
    """The grid of a track whose packets these are, in the order of decoding.

    Frame k of the grid stands for the 1/25 s around k/25 s after the first frame: it is the last frame of the file whose
    time is less than (k + 1/2)/25 s. So it is at most half a frame early, and as late as the file's frames are long;
    30 fps loses every sixth frame, 24 fps shows every 24th twice, 50 fps keeps every other, and a picture that stands
    still for a second of variable rate stands still. Arithmetic is exact, whatever the time base.
    Raises VideoFault for a track that shows nothing, or for longer than MAX_FRAMES.
    """
    first_key = next((i for i, stamp in enumerate(stamps) if stamp.is_key), None)
    if first_key is None:
        raise VideoFault("no frames", "its video track holds no frame that can be decoded without another")
    decodable = [stamp for stamp in stamps[first_key:] if stamp.time >= stamps[first_key].time]
    visible = sorted({stamp.time: stamp for stamp in decodable if not stamp.is_hidden}.items())
    if not visible:
        raise VideoFault("no frames", "its edit list shows no frame")
    times = [time for time, _ in visible]
    units = times[-1] - times[0] + _last_duration(times, visible[-1][1].duration, time_base)
    half = time_base.denominator
    sources = [(2 * FPS * time_base.numerator * (time - times[0]) + half) // (2 * half) for time in times]
    frames = max(1, -((half - 2 * FPS * time_base.numerator * units) // (2 * half)))
    if frames > MAX_FRAMES:
        raise VideoFault("too long", f"it says it lasts longer than {seconds(MAX_FRAMES):.0f} s; cut it into parts")
    last_shown = np.searchsorted(np.asarray(sources), np.arange(frames), side="right") - 1
    keys = tuple(stamp for stamp in decodable if stamp.is_key)
    return FrameGrid(np.asarray(times, np.int64)[last_shown], keys, tuple(times), time_base, units)


MAX_FRAMES = 4 * 3600 * FPS
"""Four hours. A file may claim any time stamp; nothing longer is laid out in memory."""


def _last_duration(times: Sequence[int], said: int, time_base: Fraction) -> int:
    """How long the last frame stays: as its packet says, or else as long as the one before, or else one of ours."""
    if said > 0:
        return said
    return times[-1] - times[-2] if len(times) > 1 else max(1, round(1 / (FPS * time_base)))
