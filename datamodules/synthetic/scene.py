"""What happens around the speech: pose, blinks, light, background; one value a frame for each."""

from dataclasses import dataclass

import numpy as np
from numpy.random import Generator

SWING = 0.22
"""How far yaw moves around its middle within a take, in radians."""

BLINK = {-2: 0.4, -1: 0.9, 0: 1.0, 1: 0.8, 2: 0.3}
"""How far the eyes are closed, frames from the middle of a blink."""


@dataclass(frozen=True)
class Scene:
    """Tracks of F frames. Angles in radians: yaw > 0 looks to the right of the picture, pitch > 0 up.

    Axes of the camera: right, up, towards the camera; lengths in head units.
    """

    yaw: np.ndarray
    pitch: np.ndarray
    roll: np.ndarray
    position: np.ndarray
    """[F, 2] middle of the head, right and up from the middle of the frame."""
    blink: np.ndarray
    """[F] 0 open, 1 closed."""
    light_direction: np.ndarray
    """[F, 3] unit vector from the head to the lamp."""
    light_strength: np.ndarray
    """[F] about 1."""
    ambient: float
    """The part of the light that has no direction."""
    background: np.ndarray
    """[2, 3] the two colours of the pattern."""
    background_phase: np.ndarray
    """[2]"""
    background_motion: np.ndarray
    """[F] drift of the pattern in radians a second, 0 where it stands still."""

    def __len__(self) -> int:
        return len(self.yaw)


def draw_scene(frames: int, rng: Generator, yaw_max: float = 0.5, motion: float = 1.0) -> Scene:
    """Tracks that wander smoothly; |yaw| <= yaw_max in every frame, `motion` in [0, 1] scales all movement of the head."""
    swing = min(SWING, 0.4 * yaw_max) * motion
    middle = rng.uniform(-1, 1) * (yaw_max - swing)
    azimuth, elevation = rng.uniform(-1.2, 1.2), rng.uniform(0, 0.8)
    lamp = [np.sin(azimuth) * np.cos(elevation), np.sin(elevation), np.cos(azimuth) * np.cos(elevation)]
    first = rng.uniform(0.1, 0.8, 3)
    first = 0.5 * first + 0.5 * first.mean()
    first[0] = min(first[0], 1.1 * first[1])  # never red: see CLOTH
    return Scene(
        yaw=middle + _wander(frames, rng, 25, swing),
        pitch=rng.uniform(-0.15, 0.20) + _wander(frames, rng, 25, 0.10 * motion),
        roll=rng.uniform(-0.08, 0.08) + _wander(frames, rng, 30, 0.08 * motion),
        position=np.stack([_wander(frames, rng, 30, 0.06 * motion), 0.06 + _wander(frames, rng, 30, 0.04 * motion)], 1),
        blink=_blinks(frames, rng),
        light_direction=np.tile(np.array(lamp, np.float32), (frames, 1)),
        light_strength=np.full(frames, rng.uniform(0.75, 1.05), np.float32),
        ambient=float(rng.uniform(0.45, 0.75)),
        background=np.clip(np.stack([first, first + rng.normal(0, 0.12)]), 0, 1).astype(np.float32),
        background_phase=rng.uniform(0, 2 * np.pi, 2).astype(np.float32),
        background_motion=np.full(frames, rng.uniform(2, 6) * (rng.random() < 0.4), np.float32),
    )


def _wander(frames: int, rng: Generator, period: int, reach: float) -> np.ndarray:
    """[F] float32 within [-reach, reach]: new goals every `period` frames, eased between."""
    goals = rng.uniform(-reach, reach, frames // period + 3)
    place = np.arange(frames) / period + rng.random()
    step = place.astype(int)
    eased = (place - step) ** 2 * (3 - 2 * (place - step))
    return (goals[step] * (1 - eased) + goals[step + 1] * eased).astype(np.float32)


def _blinks(frames: int, rng: Generator) -> np.ndarray:
    closed = np.zeros(frames, np.float32)
    middle = int(rng.integers(0, 60))
    while middle < frames + max(BLINK):
        for offset, amount in BLINK.items():
            if 0 <= middle + offset < frames:
                closed[middle + offset] = amount
        middle += int(rng.integers(40, 110))
    return closed
