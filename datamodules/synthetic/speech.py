"""Speech-like sound, and the mouth that makes it: one sequence of phonemes drives both.

Formants, voicing and noise follow the phonemes within 40 ms, the mouth within 120 ms. Sound is source and filter:
harmonics of the voice weighted by three formant resonances, and band-limited noise for s and f.
"""

from dataclasses import dataclass

import numpy as np
from numpy.random import Generator

from hallo3_lightning.geometry import FPS, SAMPLE_RATE_HZ, audio_samples

# aperture, width of the mouth; three formants in Hz; loudness of voice and of noise; centre of the noise in Hz
PHONEMES = {
    "a": (1.00, 1.00, 750, 1200, 2500, 1.00, 0.00, 0),
    "e": (0.55, 1.15, 500, 1900, 2550, 0.90, 0.00, 0),
    "i": (0.28, 1.25, 300, 2250, 3000, 0.75, 0.00, 0),
    "o": (0.65, 0.65, 480, 850, 2400, 0.90, 0.00, 0),
    "u": (0.30, 0.50, 320, 750, 2300, 0.75, 0.00, 0),
    "m": (0.00, 0.90, 250, 1000, 2200, 0.35, 0.00, 0),
    "s": (0.12, 1.10, 300, 1800, 2600, 0.00, 0.35, 5500),
    "f": (0.06, 0.95, 300, 1200, 2400, 0.00, 0.20, 3200),
    "silence": (0.00, 0.90, 400, 1400, 2500, 0.00, 0.00, 0),
}
APERTURE, WIDTH, FORMANTS, VOICE, NOISE, NOISE_HZ = 0, 1, slice(2, 5), 5, 6, 7
STRENGTH = [APERTURE, VOICE, NOISE]
"""What a weakly spoken syllable has less of."""

VOWELS, CONSONANTS = "aeiou", "msf"
CONTROL_HZ = 1000
GAIN_HZ = 200
LEAD_S = 0.12
"""Skipped at the beginning, where smoothing has no past."""

RESONANCES = ((90.0, 1.0), (110.0, 0.7), (170.0, 0.35))
"""Bandwidth in Hz and loudness of each formant."""

NOISES = ((5500.0, 900.0), (3200.0, 1500.0))
"""Centre and width in Hz of s and of f."""


@dataclass(frozen=True)
class Speech:
    """F frames of speech: waveform [S] float32 within [-1, 1] at 16 kHz; aperture [F] in [0, 1] and width [F], about 1."""

    waveform: np.ndarray
    aperture: np.ndarray
    width: np.ndarray


def speak(frames: int, rng: Generator, pitch_hz: float) -> Speech:
    """`frames` frames of syllables and pauses in a voice of that pitch."""
    controls = _controls(frames / FPS + 2 * LEAD_S + 0.5, rng)
    mouth = _smoothed(controls[:, [APERTURE, WIDTH]], window_ms=120)
    tract = _smoothed(controls, window_ms=40)
    samples = audio_samples(frames)
    waveform = _voiced(tract, samples, rng, pitch_hz) + _unvoiced(tract, samples, rng)
    waveform = 0.25 * (waveform + 1e-3 * rng.standard_normal(samples))
    middles_s = LEAD_S + (np.arange(frames) + 0.5) / FPS
    return Speech(
        np.clip(waveform, -1, 1).astype(np.float32),
        _at(middles_s, mouth[:, 0]).astype(np.float32),
        _at(middles_s, mouth[:, 1]).astype(np.float32),
    )


def _controls(duration_s: float, rng: Generator) -> np.ndarray:
    """Phoneme after phoneme at CONTROL_HZ: [time, 8], at least that long."""
    pieces: list[np.ndarray] = []
    spoken_s = 0.0
    while spoken_s < duration_s:
        strength = rng.uniform(0.6, 1.0)
        syllable = []
        if rng.random() < 0.18:
            syllable.append(("silence", rng.uniform(0.12, 0.35)))
        if rng.random() < 0.75:
            syllable.append((CONSONANTS[rng.integers(len(CONSONANTS))], rng.uniform(0.06, 0.12)))
        syllable.append((VOWELS[rng.integers(len(VOWELS))], rng.uniform(0.09, 0.22)))
        for phoneme, length_s in syllable:
            control = np.array(PHONEMES[phoneme], np.float32)
            control[STRENGTH] *= strength
            pieces.append(np.tile(control, (int(length_s * CONTROL_HZ), 1)))
            spoken_s += length_s
    return np.concatenate(pieces)


def _smoothed(tracks: np.ndarray, window_ms: int) -> np.ndarray:
    """Each column under a Hann window; [time, n] -> [time, n]."""
    window = np.hanning(window_ms + 2)[1:-1]
    window /= window.sum()
    return np.stack([np.convolve(track, window, "same") for track in tracks.T], 1)


def _at(times_s: np.ndarray, track: np.ndarray) -> np.ndarray:
    return np.interp(times_s * CONTROL_HZ, np.arange(len(track)), track)


def _voiced(tract: np.ndarray, samples: int, rng: Generator, pitch_hz: float) -> np.ndarray:
    """Harmonics of a wavering voice, each as loud as the formants near it let it be."""
    times_s = LEAD_S + np.arange(samples) / SAMPLE_RATE_HZ
    slow = np.sin(2 * np.pi * rng.uniform(0.5, 1.5) * times_s + rng.uniform(0, 2 * np.pi))
    pitch = pitch_hz * (1 + 0.08 * slow + 0.03 * np.sin(2 * np.pi * 4 * times_s))
    phase = 2 * np.pi * np.cumsum(pitch) / SAMPLE_RATE_HZ
    every = SAMPLE_RATE_HZ // GAIN_HZ
    grid = np.arange(0, samples + every, every)
    formants = [_at(LEAD_S + grid / SAMPLE_RATE_HZ, track) for track in tract.T[FORMANTS]]
    voice = _at(LEAD_S + grid / SAMPLE_RATE_HZ, tract[:, VOICE])
    pitch_on_grid = np.interp(grid, np.arange(samples), pitch)
    between = (np.arange(samples) % every / every).astype(np.float32)

    sound = np.zeros(samples, np.float32)
    twice_cosine = (2 * np.cos(phase)).astype(np.float32)
    previous, harmonic = np.zeros(samples, np.float32), np.sin(phase).astype(np.float32)
    for number in range(1, int(5000 / pitch_hz) + 1):
        hz = number * pitch_on_grid
        gain = sum(
            loudness * width**2 / ((hz - formant) ** 2 + width**2)
            for formant, (width, loudness) in zip(formants, RESONANCES, strict=True)
        )
        gain = (gain * voice / np.sqrt(number)).astype(np.float32)
        steps = np.repeat(gain[:-1], every)[:samples], np.repeat(np.diff(gain), every)[:samples]
        sound += (steps[0] + steps[1] * between) * harmonic
        # sin((k + 1) p) = 2 cos(p) sin(k p) - sin((k - 1) p): no sine per harmonic
        previous, harmonic = harmonic, twice_cosine * harmonic - previous
    return sound


def _unvoiced(tract: np.ndarray, samples: int, rng: Generator) -> np.ndarray:
    """Noise in the bands of s and f, where they are spoken."""
    times_s = LEAD_S + np.arange(samples) / SAMPLE_RATE_HZ
    loudness, centre_hz = _at(times_s, tract[:, NOISE]), _at(times_s, tract[:, NOISE_HZ])
    hz = np.fft.rfftfreq(samples, 1 / SAMPLE_RATE_HZ)
    sound = np.zeros(samples)
    for middle_hz, width_hz in NOISES:
        spectrum = np.fft.rfft(rng.standard_normal(samples)) * np.exp(-(((hz - middle_hz) / width_hz) ** 2))
        noise = np.fft.irfft(spectrum, samples)
        sound += 0.6 * np.where(np.abs(centre_hz - middle_hz) < 1600, loudness, 0) * noise / (noise.std() + 1e-6)
    return sound
