"""The sound of a take: from the video, or from separated vocals."""

import math
from pathlib import Path

import av
import numpy as np

from hallo3_lightning.geometry import SAMPLE_RATE_HZ


def read_vocals(file: Path, samples: int) -> np.ndarray | None:
    """A wav file as int16 [samples] at 16 kHz mono, cut or followed by silence; None if it cannot be decoded."""
    resampler = av.AudioResampler(format="s16", layout="mono", rate=SAMPLE_RATE_HZ)
    parts = []
    try:
        with file.open("rb") as opened, av.open(opened, format="wav") as container:
            for frame in container.decode(audio=0):
                parts += resampler.resample(frame)
            parts += resampler.resample(None)
    except (av.FFmpegError, IndexError):
        return None
    return fitted(np.concatenate([part.to_ndarray()[0] for part in parts] or [np.zeros(0, np.int16)]), samples)


def fitted(waveform: np.ndarray, samples: int) -> np.ndarray:
    """The first so many samples, silence behind what there is."""
    return np.pad(waveform[:samples], (0, max(samples - len(waveform), 0)))


def loudness_dbfs(waveform: np.ndarray) -> float:
    """Root mean square of int16 samples relative to full scale, in decibels; -inf for silence."""
    power = float(np.square(waveform / 32768.0).mean()) if len(waveform) else 0.0
    return 10 * math.log10(power) if power else -math.inf
