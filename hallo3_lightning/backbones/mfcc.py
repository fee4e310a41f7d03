"""Cepstra of speech as SyncNet was trained on them: those of python_speech_features 0.6 with its defaults."""

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

from hallo3_lightning.geometry import SAMPLE_RATE_HZ

WINDOW = 400
"""Samples of a frame: 25 ms, with no taper."""

STEP = 160
"""Samples between frames: 10 ms."""

PER_VIDEO_FRAME = 4
"""Frames of cepstra a frame of video at 25 a second."""

FFT = 512
BANDS = 26
CEPSTRA = 13
LIFTER = 22
PREEMPHASIS = 0.97


def mfcc(waveform: np.ndarray) -> np.ndarray:
    """Cepstra [N, 13] float64 of 16 kHz sound [S] in 16-bit levels (not in -1..1), S > 0; the first is the log energy.

    N = 1 + ceil((S - 400) / 160), at least 1; the last frame is filled up with silence.
    """
    power = abs(np.fft.rfft(_frames(waveform), FFT)) ** 2 / FFT
    cepstra = np.log(_positive(power @ _mel_bands().T)) @ _cosines() * _lifter()
    return np.concatenate([np.log(_positive(power.sum(axis=1, keepdims=True))), cepstra[:, 1:]], axis=1)


def _frames(waveform: np.ndarray) -> np.ndarray:
    """Overlapping frames [N, 400] of the sound with its high notes raised."""
    sound = np.asarray(waveform, dtype=np.float64)
    raised = np.concatenate([sound[:1], sound[1:] - PREEMPHASIS * sound[:-1]])
    number = 1 + max(-(-(len(sound) - WINDOW) // STEP), 0)
    filled = np.pad(raised, (0, (number - 1) * STEP + WINDOW - len(sound)))
    return sliding_window_view(filled, WINDOW)[::STEP]


def _mel_bands() -> np.ndarray:
    """Triangles [26, 257] over the FFT's bins, evenly spaced in mel up to half the sampling rate."""
    top = 2595 * np.log10(1 + SAMPLE_RATE_HZ / 2 / 700)
    hz = 700 * (10 ** (np.linspace(0, top, BANDS + 2) / 2595) - 1)
    corners = np.floor((FFT + 1) * hz / SAMPLE_RATE_HZ)
    low, peak, high = (corners[i : i + BANDS, None] for i in range(3))
    bins = np.arange(FFT // 2 + 1)[None]
    rising = (bins - low) / (peak - low) * ((bins >= low) & (bins < peak))
    falling = (high - bins) / (high - peak) * ((bins >= peak) & (bins < high))
    return rising + falling


def _cosines() -> np.ndarray:
    """The orthonormal cosine transform [26, 13] from bands to cepstra."""
    band, cepstrum = np.arange(BANDS)[:, None], np.arange(CEPSTRA)[None]
    cosines = np.cos(np.pi * cepstrum * (2 * band + 1) / (2 * BANDS)) * np.sqrt(2 / BANDS)
    return np.where(cepstrum == 0, np.sqrt(1 / BANDS), cosines)


def _lifter() -> np.ndarray:
    """Factors [13] that even out the size of the cepstra."""
    return 1 + LIFTER / 2 * np.sin(np.pi * np.arange(CEPSTRA) / LIFTER)


def _positive(values: np.ndarray) -> np.ndarray:
    return np.where(values == 0, np.finfo(float).eps, values)
