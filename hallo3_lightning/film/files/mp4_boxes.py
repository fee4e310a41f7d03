"""What an mp4 is made of: its outermost boxes. Source: ISO/IEC 14496-12, section 4.2."""

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from typing import BinaryIO

HEADER, LONG_HEADER = 8, 16
"""Bytes in front of what is in a box; the long one where its size needs 64 bits."""


TYPE = slice(4, 8)
"""Where in a header the type is."""

SKIPPED, END = "skip", "free"
"""Every player skips boxes of these types: what is not yet to be seen, and behind all fragments, that no more will follow."""


@dataclass(frozen=True)
class Box:
    """One box: its type, and where its header begins and its content stops."""

    name: str
    begin: int
    stop: int


def empty(name: str) -> bytes:
    """A box with nothing in it."""
    return struct.pack(">I4s", HEADER, name.encode())


def boxes(file: BinaryIO) -> Iterator[Box]:
    """The boxes of a seekable file, in order.

    Raises ValueError where one is cut short, or says 0 for its size: what has no size yet is not written to its end.
    """
    length = file.seek(0, 2)
    begin = 0
    while begin < length:
        file.seek(begin)
        header = file.read(LONG_HEADER)
        if len(header) < HEADER:
            raise ValueError(f"the box at byte {begin} is cut short")
        size, name = struct.unpack_from(">I4s", header)
        least = LONG_HEADER if size == 1 else HEADER
        if size == 1 and len(header) == LONG_HEADER:
            (size,) = struct.unpack_from(">Q", header, HEADER)
        if not least <= size <= length - begin:
            raise ValueError(f"the box at byte {begin} says that it has {size} bytes, and {length - begin} are there")
        yield Box(name.decode("latin-1"), begin, begin + size)
        begin += size
