"""The sound of a take: from the video, or from separated vocals."""

import math
from fractions import Fraction
from pathlib import Path

import av
import numpy as np

from datamodules.prepare.verdict import Dropped
from datamodules.video.sound_track import aligned
from datamodules.video.video_fault import VideoFault


def read_vocals(file: Path, samples: int) -> np.ndarray:
    """A wav file as int16 [samples] at 16 kHz mono, cut or followed by silence. Raises Dropped for another file."""
    try:
        with file.open("rb") as opened, av.open(opened, "r", format="wav") as container:
            sound = aligned(container.decode(audio=0), Fraction(0), samples)
    except (av.FFmpegError, IndexError, VideoFault) as error:  # not a wav, no track in it, not numbers
        raise Dropped("undecodable", f"the separated vocals {file.name}") from error
    if sound is None:
        raise Dropped("no audio", f"in the separated vocals {file.name}")
    return sound


def loudness_dbfs(waveform: np.ndarray) -> float:
    """Root mean square of int16 samples relative to full scale, in decibels; -inf for silence."""
    power = float(np.square(waveform / 32768.0).mean()) if len(waveform) else 0.0
    return 10 * math.log10(power) if power else -math.inf
