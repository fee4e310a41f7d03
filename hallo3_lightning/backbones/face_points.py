"""Five points of the face model, from the MATLAB file that comes beside Deep3DFaceRecon's weights.

Which of its 68 landmarks they are made of is as in util/load_mats.py of github.com/sicxu/Deep3DFaceRecon_pytorch. The
file's format: "MAT-File Format", MathWorks, version 5.
"""

import struct
import zlib
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from hallo3_lightning.errors import UsageError

LANDMARKS, HEADER = 68, 128

EYES, NOSE, MOUTH = ((36, 39), (42, 45)), 30, (48, 54)
"""Corners of each eye, tip of the nose, corners of the mouth, among the 68."""

COMPRESSED, MATRIX, SINGLE, DOUBLE = 15, 14, 7, 9


def five_points(file: Path) -> np.ndarray:
    """[5, 3]: eyes, nose and corners of the mouth, from the array [68, 3] of a MATLAB file. Raises UsageError where
    there is none."""
    try:
        points = next(array for array in _arrays(file.read_bytes()[HEADER:]) if array.shape == (LANDMARKS, 3))
    except (StopIteration, struct.error, zlib.error, ValueError) as error:
        raise UsageError(
            f"{file} holds no array of {LANDMARKS} x 3 numbers in MATLAB's format of version 5; `hallo3 doctor` names "
            "the file meant"
        ) from error
    eyes = [points[list(corners)].mean(axis=0) for corners in EYES]
    return np.stack([*eyes, points[NOSE], *points[list(MOUTH)]])


def _arrays(raw: bytes) -> Iterator[np.ndarray]:
    """All real matrices of floats."""
    for kind, content in _elements(raw):
        if kind == COMPRESSED:
            yield from _arrays(zlib.decompress(content))
        elif kind == MATRIX:
            parts = list(_elements(content))  # flags, sizes, name, numbers column by column
            formats = {SINGLE: "<f4", DOUBLE: "<f8"}
            if len(parts) > 3 and parts[3][0] in formats:
                shape = np.frombuffer(parts[1][1], "<i4")
                yield np.frombuffer(parts[3][1], formats[parts[3][0]]).reshape(shape, order="F").astype(np.float64)


def _elements(raw: bytes) -> Iterator[tuple[int, bytes]]:
    """Kind and content of each element; one of up to 4 bytes is packed into its own header."""
    place = 0
    while place + 8 <= len(raw):
        kind, size = struct.unpack_from("<II", raw, place)
        if kind >> 16:
            yield kind & 0xFFFF, raw[place + 4 : place + 4 + (kind >> 16)]
            place += 8
            continue
        yield kind, raw[place + 8 : place + 8 + size]
        place += 8 + size + (-size % 8 if kind != COMPRESSED else 0)
