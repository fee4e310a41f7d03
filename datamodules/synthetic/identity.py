"""Who is talking: colours, proportions, voice; drawn, put into words, and made a vector."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.random import Generator

Palette = Mapping[str, tuple[float, float, float]]

SKIN: Palette = {
    "fair": (0.95, 0.78, 0.66),
    "tanned": (0.88, 0.68, 0.52),
    "olive": (0.78, 0.56, 0.40),
    "brown": (0.62, 0.42, 0.28),
    "dark": (0.45, 0.30, 0.20),
    "pale": (0.98, 0.84, 0.76),
}
HAIR: Palette = {
    "black": (0.10, 0.08, 0.08),
    "brown": (0.32, 0.22, 0.12),
    "blond": (0.80, 0.68, 0.36),
    "grey": (0.55, 0.55, 0.58),
    "blue": (0.20, 0.24, 0.36),
    "chestnut": (0.45, 0.30, 0.14),
}
EYES: Palette = {
    "blue": (0.20, 0.35, 0.75),
    "green": (0.15, 0.50, 0.25),
    "brown": (0.30, 0.20, 0.10),
    "grey": (0.40, 0.50, 0.55),
}
CLOTH: Palette = {
    "navy": (0.15, 0.20, 0.45),
    "green": (0.15, 0.45, 0.30),
    "charcoal": (0.25, 0.25, 0.28),
    "cream": (0.80, 0.80, 0.75),
    "light blue": (0.45, 0.60, 0.70),
    "khaki": (0.50, 0.50, 0.20),
}
"""No red anywhere: the inside of the mouth is found by its colour."""

RANGES: Mapping[str, tuple[float, float]] = {
    "half_width": (0.46, 0.58),
    "half_height": (0.62, 0.74),
    "half_depth": (0.52, 0.60),
    "eye_spacing": (0.34, 0.48),
    "eye_radius": (0.12, 0.17),
    "hairline": (0.42, 0.70),
    "hair_side": (-0.90, 0.20),
    "mouth_width": (0.26, 0.34),
    "mouth_latitude": (-0.58, -0.48),
    "brow": (0.03, 0.06),
    "nose": (0.070, 0.100),
    "lip": (0.055, 0.080),
}
"""Geometry, drawn uniformly. Lengths in head units (the frame is 1.44 high), places on the head in radians of
latitude and longitude from the middle of the face."""

PITCH_HZ = (90.0, 240.0)

EMBEDDING_WIDTH = 24


@dataclass(frozen=True)
class Identity:
    """One person. Colours are [3] float32 in [0, 1]; `words` names them; `geometry` has the keys of RANGES."""

    skin: np.ndarray
    hair: np.ndarray
    eyes: np.ndarray
    cloth: np.ndarray
    geometry: Mapping[str, float]
    pitch_hz: float
    words: Mapping[str, str]

    @property
    def lips(self) -> np.ndarray:
        return self.skin * np.array([0.95, 0.55, 0.60], np.float32)

    @property
    def axes(self) -> np.ndarray:
        """Half axes of the head [3]: right, up, towards the camera."""
        return np.array([self.geometry[name] for name in ("half_width", "half_height", "half_depth")], np.float32)


def draw_identity(rng: Generator) -> Identity:
    """A person drawn from the palettes, shifted a little in colour, and from RANGES."""
    words, colours = {}, {}
    for part, palette, spread in (
        ("skin", SKIN, 0.012),
        ("hair", HAIR, 0.02),
        ("eyes", EYES, 0.0),
        ("cloth", CLOTH, 0.03),
    ):
        words[part] = list(palette)[rng.integers(len(palette))]
        shifted = np.array(palette[words[part]]) + rng.normal(0.0, spread, 3)
        colours[part] = np.clip(shifted, 0.02, 1.0).astype(np.float32)
    geometry = {name: float(rng.uniform(low, high)) for name, (low, high) in RANGES.items()}
    return Identity(**colours, geometry=geometry, pitch_hz=float(rng.uniform(*PITCH_HZ)), words=words)


def face_embedding(identity: Identity) -> np.ndarray:
    """The identity's colours and geometry, each brought to mean 0 and deviation 1: [EMBEDDING_WIDTH] float32.

    Stands in for what a face recogniser sees: on real data it is the insightface vector.
    """
    colours = [
        (getattr(identity, part) - np.mean(list(palette.values()), 0)) / np.std(list(palette.values()), 0)
        for part, palette in (("skin", SKIN), ("hair", HAIR), ("eyes", EYES), ("cloth", CLOTH))
    ]
    geometry = [
        (identity.geometry[name] - (low + high) / 2) / ((high - low) / np.sqrt(12))
        for name, (low, high) in RANGES.items()
    ]
    return np.concatenate([*colours, geometry]).astype(np.float32)
