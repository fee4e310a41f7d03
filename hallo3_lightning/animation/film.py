"""Where frames go as they come: a film that can be watched, and gone on with, at whatever point its making ended."""

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from torch import Tensor


@dataclass(frozen=True)
class Place:
    """How far a film has come.

    frames: of video; bytes: of the file; parts: pieces that it was written in; sounds: packets of sound.
    """

    frames: int = 0
    bytes: int = 0
    parts: int = 0
    sounds: int = 0


BEGINNING = Place()


class Film(Protocol):
    """Frames of one video in order. Whoever goes on behind a place gets the bytes that an unbroken making gets."""

    def write(self, frames: Tensor) -> None:
        """Frames [f, 3, H, W] uint8 that follow those before; they are in the file when this returns."""

    def end_window(self) -> Place:
        """A window is complete and on the disk; making may go on behind here."""

    def finish(self) -> None:
        """All frames have been written: give the film its last form."""

    def close(self) -> None:
        """Let go of the files, finished or not."""


GENERATED = "Generated video: a picture animated to speech by hallo3_lightning, not a recording of the person shown."
"""Stands in every film, since portraits can be misused."""


def tags(provenance: str) -> Mapping[str, str]:
    """What a film says of itself; `provenance` is JSON."""
    return {"description": GENERATED, "comment": provenance}


def on_disk(path: Path) -> None:
    """Wait until a file is on the disk, or of a folder the names in it."""
    opened = os.open(path, os.O_RDONLY)
    try:
        os.fsync(opened)
    finally:
        os.close(opened)
