"""Folders of small videos with sound, from the procedural renderer."""

from pathlib import Path

import numpy as np

from datamodules.synthetic.take import make_take
from datamodules.video.video_file import write_mp4

FRAMES, SIZE = 24, 64


def take(number: int, frames: int = FRAMES, size: int = SIZE) -> tuple[np.ndarray, np.ndarray]:
    """Frames [F, H, W, 3] and their sound [S] int16."""
    found = make_take(5, number, frames=frames, size=size)
    return found.video[:], found.waveform


def folder(place: Path, numbers: range, frames: int = FRAMES, size: int = SIZE) -> Path:
    """clip-0.mp4 and so on, as they are."""
    place.mkdir(parents=True)
    for i, number in enumerate(numbers):
        write_mp4(place / f"clip-{i}.mp4", *take(number, frames, size))
    return place


def protocol(place: Path, *metrics: str, frames: int | None = None) -> str:
    """A protocol of these metrics, as a file."""
    lines = ["id: test", "version: 1", "about: a test", f"frames: {frames or 'null'}", "metrics:"]
    place.write_text("\n".join([*lines, *(f"  - {metric}" for metric in metrics), ""]))
    return str(place)
