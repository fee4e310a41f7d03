"""How long a recording says it is: where less of it is there, a copy or a download broke off."""

from fractions import Fraction
from pathlib import Path
from typing import BinaryIO

from av.container import InputContainer

COUNTED = ("mov", "aiff", "au")
"""FFmpeg's names of forms whose header counts samples or time; of others it guesses by the bytes there, or refuses what is cut."""

UNKNOWN = 0x7FFFF000
"""From here on, the bytes that a RIFF header gives mean that nobody knew: it was written into a pipe."""

ROUNDING_S = Fraction(1, 5)
"""Encoders' delays and whole packets make so little difference at most."""


def broken_off(path: Path, container: InputContainer, there_s: Fraction) -> str:
    """A sentence for the user where the file says that it is longer than the sound in it; empty where it is whole."""
    told_s = max(_by_header(container), there_s * _by_bytes(path))
    if told_s <= there_s + ROUNDING_S:
        return ""
    return (
        f"--audio {path} says that it lasts {float(told_s):.1f} s, and {float(there_s):.1f} s of it are there: it was cut "
        "off, and what is there is animated"
    )


def _by_header(container: InputContainer) -> Fraction:
    """Seconds; 0 where the header does not say."""
    stream = container.streams.audio[0]
    if stream.duration is None or stream.time_base is None or not container.format.name.startswith(COUNTED):
        return Fraction(0)
    return stream.duration * stream.time_base


def _by_bytes(path: Path) -> Fraction:
    """How many times as large a wav says it is; FFmpeg reads what is there, and does not tell."""
    with path.open("rb") as file:
        told = _riff_bytes(file)
    return Fraction(told, max(path.stat().st_size, 1))


def _riff_bytes(file: BinaryIO) -> int:
    """0 for other forms, and where the header does not know."""
    header = file.read(12)
    if header[:4] != b"RIFF" or header[8:] != b"WAVE":
        return 0
    told = int.from_bytes(header[4:8], "little")
    return 0 if told >= UNKNOWN else told + 8
