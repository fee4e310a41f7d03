"""Where frames go as they come: a film that can be watched, and gone on with, at whatever point its making ended."""

import os
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from torch import Tensor


@dataclass(frozen=True)
class Place:
    """How far a film has come.

    frames: of video; bytes: that were written; parts: pieces that they were written in; sounds: packets of sound;
    checksum: CRC-32 of the bytes.
    """

    frames: int = 0
    bytes: int = 0
    parts: int = 0
    sounds: int = 0
    checksum: int = 0


BEGINNING = Place()


def behind(place: Place, piece: bytes, frames: int = 0, sounds: int = 0) -> Place:
    """How far a film has come with one more piece, which holds so many frames and packets."""
    checksum = zlib.crc32(piece, place.checksum)
    return Place(place.frames + frames, place.bytes + len(piece), place.parts + 1, place.sounds + sounds, checksum)


FRAMES, PARTIAL = ".frames", ".partial"

BESIDE = {"mp4": (PARTIAL,), "npz": (FRAMES, PARTIAL), "png": ()}
"""What is added to a film's name for the files that lie beside it while it is made: frames, and its last form."""


def beside(path: Path, suffix: str) -> Path:
    """Such a file."""
    return path.with_name(f"{path.name}{suffix}")


class Film(Protocol):
    """Frames of one video in order. Whoever goes on behind a place gets the bytes that an unbroken making gets."""

    @property
    def place(self) -> Place:
        """How far it has come."""

    def write(self, frames: Tensor) -> None:
        """Frames [f, 3, H, W] uint8 that follow those before; they are in the file when this returns."""

    def end_window(self) -> Place:
        """A window is complete and on the disk; making may go on behind here."""

    def finish(self) -> None:
        """All frames have been written: give the film its last form, which no film has before. See `left_behind`."""

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
