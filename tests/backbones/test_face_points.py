"""Five points of the face model from a MATLAB file, written here by the format's own rules."""

import struct
import zlib
from pathlib import Path

import numpy as np
import pytest

from hallo3_lightning.backbones.face_points import five_points
from hallo3_lightning.errors import UsageError


def element(kind: int, content: bytes) -> bytes:
    return struct.pack("<II", kind, len(content)) + content + b"\0" * (-len(content) % 8)


def matrix(name: bytes, values: np.ndarray) -> bytes:
    small_name = struct.pack("<HH", 1, len(name)) + name.ljust(4, b"\0")  # packed into its own header
    parts = [
        element(6, struct.pack("<II", 6, 0)),
        element(5, np.array(values.shape, "<i4").tobytes()),
        small_name,
        element(9, values.astype("<f8").tobytes(order="F")),
    ]
    return element(14, b"".join(parts))


def write(path: Path, *matrices: bytes, compressed: bool) -> Path:
    packed = [zlib.compress(m) for m in matrices]
    parts = [struct.pack("<II", 15, len(p)) + p for p in packed] if compressed else matrices
    path.write_bytes(b"MATLAB 5.0".ljust(124) + b"\x00\x01IM" + b"".join(parts))
    return path


@pytest.mark.parametrize("compressed", [False, True])
def test_eyes_nose_and_mouth_are_found_among_the_68(tmp_path, compressed):
    points = np.arange(68 * 3, dtype=float).reshape(68, 3)
    file = write(tmp_path / "lm.mat", matrix(b"tri", np.ones((2, 3))), matrix(b"lm", points), compressed=compressed)
    found = five_points(file)
    assert found[:, 0].tolist() == [3 * 37.5, 3 * 43.5, 3 * 30, 3 * 48, 3 * 54]
    assert (found[:, 2] - found[:, 0]).tolist() == [2] * 5


def test_another_file_is_named(tmp_path):
    for file in (write(tmp_path / "a.mat", matrix(b"lm", np.ones((5, 3))), compressed=True), tmp_path / "b.mat"):
        if not file.exists():
            file.write_bytes(b"x" * 300)
        with pytest.raises(UsageError, match="holds no array of 68 x 3"):
            five_points(file)
