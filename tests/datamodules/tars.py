"""Tars written header by header, so that they can be wrong in every way."""

import io
import tarfile
from collections.abc import Mapping
from pathlib import Path

SMALLEST = {"json": b"{}", "video.npy": b"v", "txt": b"t"}
"""The names that every sample must have; what they hold is not looked at by a scan."""


def entry(name: str, payload: bytes = b"", **fields) -> bytes:
    """One header and its payload, padded; `fields` are those of TarInfo."""
    info = tarfile.TarInfo(name)
    info.size = len(payload)
    for field, value in fields.items():
        setattr(info, field, value)
    return info.tobuf(tarfile.GNU_FORMAT, "utf-8", "surrogateescape") + payload + bytes(-len(payload) % 512)


def sample(key: str, members: Mapping[str, bytes] = SMALLEST) -> bytes:
    """All entries of one sample."""
    return b"".join(entry(f"{key}.{name}", payload) for name, payload in members.items())


def write_tar(path: Path, *entries: bytes) -> Path:
    path.write_bytes(b"".join(entries) + bytes(1024))
    return path


def write_with_tarfile(path: Path, names: Mapping[str, bytes], form: int) -> Path:
    with tarfile.open(path, "w", format=form) as tar:
        for name, payload in names.items():
            info = tarfile.TarInfo(name)
            info.size = len(payload)
            tar.addfile(info, io.BytesIO(payload))
    return path
