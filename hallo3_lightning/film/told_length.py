"""How long a recording says it is: where less of it is there, a copy or a download broke off; a little more is padding."""

import re
from fractions import Fraction
from pathlib import Path
from typing import BinaryIO

import av
from av.audio import AudioStream
from av.container import InputContainer

COUNTED = ("mov", "aiff", "au", "flac", "tta", "wv")
"""FFmpeg's names of forms whose header counts samples or time. Of ogg, avi and others it looks at what is there."""

UNKNOWN = 0x7FFFF000
"""From here on, the bytes that a RIFF header gives mean that nobody knew: it was written into a pipe."""

ROUNDING_S = Fraction(1, 5)
"""Encoders' delays and whole packets make so little difference at most."""

CLOCK = re.compile(r"(\d{1,6}):(\d\d):(\d\d(?:\.\d+)?)", re.ASCII)
"""A time as Matroska's tags write it."""


def broken_off(name: str, path: Path, container: InputContainer, there_s: Fraction) -> str:
    """A sentence for the user where the file says that it is longer than the sound in it; empty where it is whole, or
    does not say. `name`: what the user called it."""
    told_s = max(_by_header(container), there_s * _by_bytes(path))
    if told_s <= there_s + ROUNDING_S:
        return ""
    return (
        f"--audio {name} says that it lasts {float(told_s):.1f} s, and {float(there_s):.1f} s of it are there: it was cut "
        "off, or has holes, and what is there is animated"
    )


def without_padding(container: InputContainer, there_s: Fraction) -> Fraction:
    """Seconds of the sound that were recorded: AAC fills its last packet, and an mp4 knows with how much. What is further
    beyond its end than that is sound all the same."""
    told_s = _by_header(container) if container.format.name.startswith("mov") else there_s
    return told_s if 0 < there_s - told_s <= ROUNDING_S else there_s


def _by_header(container: InputContainer) -> Fraction:
    """Seconds; 0 where the header does not say."""
    stream, form = container.streams.audio[0], container.format.name
    if form.startswith("matroska"):
        return _by_matroska(container, stream)
    # an mp3 without LAME's header begins at zero, and FFmpeg guesses its length by the first packets
    told = form.startswith(COUNTED) or (form == "mp3" and stream.start_time)
    if not told or stream.duration is None or stream.time_base is None:
        return Fraction(0)
    return stream.duration * stream.time_base


def _by_matroska(container: InputContainer, stream: AudioStream) -> Fraction:
    """Its tracks say in a tag when they end; the file says when the last of them does."""
    ends_s = Fraction(0)
    if clock := CLOCK.fullmatch(stream.metadata.get("DURATION", "")):
        ends_s = int(clock[1]) * 3600 + int(clock[2]) * 60 + Fraction(clock[3])
    elif container.duration is not None and len(container.streams) == 1:
        ends_s = Fraction(container.duration, av.time_base)
    begins = stream.start_time or 0
    return ends_s - begins * (stream.time_base or 0)


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
