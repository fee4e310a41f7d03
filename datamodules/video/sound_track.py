"""The sound of a video file as 16 kHz mono, in step with its picture."""

from collections.abc import Iterable, Iterator
from fractions import Fraction

import av
import numpy as np
from einops import rearrange

from datamodules.video.video_fault import VideoFault
from hallo3_lightning.geometry import SAMPLE_RATE_HZ

TOLERANCE_S = Fraction(1, 20)
"""Time stamps that stray less from the count of samples are rounding; further, the sound has a hole or a leap."""

PLANES = 8
"""FFmpeg's AV_NUM_DATA_POINTERS: so many channels fill the list of planes of a frame."""


def aligned(frames: Iterable[av.AudioFrame], start_s: Fraction, samples: int) -> np.ndarray | None:
    """Decoded audio -> [samples] int16, the first sample at `start_s` of the frames' clock; None for no frames.

    Channels are mixed down by FFmpeg's resampler. What lies before or behind is cut, what is missing is silence, also
    where the time stamps leave a hole. Raises VideoFault for sound that is not a number.
    """
    track, heard = np.zeros(samples, np.int16), False
    for begin_s, run in _runs(frames):
        heard = True
        offset = round((begin_s - start_s) * SAMPLE_RATE_HZ)
        kept = run[max(0, -offset) : max(0, samples - offset)]
        track[max(0, offset) : max(0, offset) + len(kept)] = kept
    return track if heard else None


def _runs(frames: Iterable[av.AudioFrame]) -> Iterator[tuple[Fraction, np.ndarray]]:
    """Stretches without a hole: when each begins, and its samples at 16 kHz."""
    run: list[av.AudioFrame] = []
    begin_s = expected_s = Fraction(0)
    for frame in frames:
        at_s = expected_s if frame.pts is None or frame.time_base is None else Fraction(frame.pts * frame.time_base)
        if run and (abs(at_s - expected_s) > TOLERANCE_S or _kind(frame) != _kind(run[-1])):
            yield begin_s, _resampled(run)
            run = []
        if not run:
            begin_s = expected_s = at_s
        run.append(frame)
        expected_s += Fraction(frame.samples, frame.sample_rate)
    if run:
        yield begin_s, _resampled(run)


def _kind(frame: av.AudioFrame) -> tuple[int, str, str]:
    return frame.sample_rate, frame.layout.name, frame.format.name


def _resampled(run: list[av.AudioFrame]) -> np.ndarray:
    resampler = av.AudioResampler(format="s16", layout="mono", rate=SAMPLE_RATE_HZ)
    chunks = []
    for frame in run:
        frame.pts = None  # the resampler counts on; stamps of a container in milliseconds would make it stutter
        if not is_finite(frame):
            raise VideoFault("non-finite sound", "the sound holds numbers that are not finite")
        chunks += resampler.resample(frame)
    chunks += resampler.resample(None)
    return np.concatenate([rearrange(chunk.to_ndarray(), "1 samples -> samples") for chunk in chunks])


def is_finite(frame: av.AudioFrame, limit: float = np.inf) -> bool:
    """Whether all samples are numbers below a limit. Eight planes or more have no end that PyAV finds, so they are interleaved first:
    reading them as they are ends the process."""
    if not frame.format.name.startswith(("flt", "dbl")):
        return True
    frames = [frame]
    if frame.format.is_planar and frame.layout.nb_channels >= PLANES:
        packed = av.AudioResampler(frame.format.packed, frame.layout, frame.sample_rate)
        frames = packed.resample(frame)
    return all(bool((np.abs(part.to_ndarray()) < limit).all()) for part in frames)
