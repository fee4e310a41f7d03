"""The index of a data set as a file that is mapped, not read: what it holds, how it is written, when it is believed.

    preamble   magic, length of the header, checksums of the header and of the rest
    header     JSON: version, names of the members, shards in order of name (name, bytes, digest, samples), problems
    table      int64 [rows, members, 2]: offset and size of each member of each sample, -1 where it has none
    key ends   int64 [rows + 1]
    keys       UTF-8, one behind the other

Nothing in it is executed, and no name in it becomes a path that the folder of shards does not hold.
"""

import json
import mmap
import os
import struct
import tempfile
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from einops import rearrange

from datamodules.scan import LARGEST_MEMBER, Problem

INDEX_FILE = "index.wdx"
VERSION = 4
"""Raise it with every change of the file or of what `scan` accepts: indexes of before are then built anew."""

MOST_MEMBERS = 64
"""Names of members that an index keeps: those that are ever read first, then the commonest."""

NOTHING = ""
"""The digest of a shard that is not there."""

_MAGIC = b"HALLO3WX"
_PREAMBLE = struct.Struct("<8sQII")
_LONGEST_HEADER = 1 << 28
_ROWS_AT_ONCE = 1 << 16
_CHUNK = 1 << 22

Buffer = bytes | mmap.mmap


class NotAnIndex(ValueError):
    """Bytes that are no whole index of this version: says why."""


@dataclass(frozen=True)
class Shard:
    """One tar as it was when it was indexed."""

    name: str
    bytes: int
    digest: str
    samples: int


@dataclass(frozen=True)
class Contents:
    """What an index file holds; the arrays may lie in a mapped file."""

    shards: tuple[Shard, ...]
    members: tuple[str, ...]
    table: np.ndarray
    """[rows, members, 2] int64."""
    key_ends: np.ndarray
    """[rows + 1] int64."""
    keys: np.ndarray
    """[bytes] uint8."""
    problems: tuple[Problem, ...]
    """Of what is to be written; those of a file are read by `problems_of`, so that no worker carries them."""
    digest: str
    """Of the bytes of all shards and of which samples were kept."""
    verified: bool = False
    """Whether every sample was decoded once, and those that cannot be were left out."""
    repeated_keys: int = 0
    """Samples whose key stands in several shards; theirs is written key@shard."""
    by_tag: bool = False
    """Whether the shards' digests are of the tags that a server gave them, and not of their bytes."""

    def key(self, number: int) -> str:
        """The key of a sample."""
        first, last = self.key_ends[number : number + 2]
        return self.keys[first:last].tobytes().decode(errors="replace")


def packed(contents: Contents) -> Iterator[bytes]:
    """The bytes of the file, in parts."""
    described = {
        "version": VERSION,
        "members": contents.members,
        "shards": [asdict(shard) for shard in contents.shards],
        "problems": [asdict(problem) for problem in contents.problems],
        "digest": contents.digest,
        "verified": contents.verified,
        "repeated_keys": contents.repeated_keys,
        "by_tag": contents.by_tag,
    }
    header = json.dumps(described).encode()
    header += b" " * (-(_PREAMBLE.size + len(header)) % 8)
    body = [part.tobytes() for part in (contents.table, contents.key_ends, contents.keys)]
    checksum = 0
    for part in body:
        checksum = zlib.crc32(part, checksum)
    yield _PREAMBLE.pack(_MAGIC, len(header), zlib.crc32(header), checksum)
    yield header
    yield from body


def save(path: Path, contents: Contents) -> None:
    """Write an index that appears under its name only when it is whole; several processes may do so at once."""
    with tempfile.NamedTemporaryFile("wb", dir=path.parent, prefix=".index-", delete=False) as file:
        try:
            for part in packed(contents):
                file.write(part)
            file.flush()
            os.fsync(file.fileno())
            Path(file.name).chmod(0o644)
            Path(file.name).replace(path)
        except BaseException:
            Path(file.name).unlink(missing_ok=True)
            raise


def mapped(path: Path) -> mmap.mmap:
    """The file in memory, its pages shared by all processes that map it."""
    with path.open("rb") as file:
        if os.fstat(file.fileno()).st_size < _PREAMBLE.size:
            raise NotAnIndex("shorter than its preamble")
        return mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)


def parsed(buffer: Buffer) -> Contents:
    """What the file holds but its problems, its size and header checked, the rest not touched: O(1) in its samples.

    Raises NotAnIndex.
    """
    header, start = _header(buffer)
    try:
        shards = tuple(Shard(**_typed(Shard, shard)) for shard in header["shards"])
        members = tuple(str(name) for name in header["members"])
        facts = str(header["digest"]), bool(header["verified"]), int(header["repeated_keys"]), bool(header["by_tag"])
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise NotAnIndex(f"header of another shape ({error!r})") from error
    _check_shards(shards, members)
    rows = sum(shard.samples for shard in shards)
    table_bytes = rows * len(members) * 2 * 8
    keys_start = start + table_bytes + (rows + 1) * 8
    if keys_start > len(buffer):
        raise NotAnIndex(f"{len(buffer)} bytes, its {rows} samples need more than {keys_start}")
    table = np.frombuffer(buffer, "<i8", rows * len(members) * 2, start)
    key_ends = np.frombuffer(buffer, "<i8", rows + 1, start + table_bytes)
    keys = np.frombuffer(buffer, np.uint8, len(buffer) - keys_start, keys_start)
    if key_ends[0] != 0 or key_ends[-1] != len(keys):
        raise NotAnIndex(f"{len(keys)} bytes of keys, expected {key_ends[-1]}")
    table = rearrange(table, "(r m two) -> r m two", r=rows, m=len(members), two=2)
    return Contents(shards, members, table, key_ends, keys, (), *facts)


def problems_of(buffer: Buffer) -> tuple[Problem, ...]:
    """The problems that the file lists, of which there may be many. Raises NotAnIndex."""
    header, _ = _header(buffer)
    try:
        return tuple(Problem(**_typed(Problem, problem)) for problem in header["problems"])
    except (KeyError, TypeError, AttributeError) as error:
        raise NotAnIndex(f"problems of another shape ({error!r})") from error


def check(buffer: Buffer) -> None:
    """Read the whole file once: checksum, every member inside its shard, keys in order. Raises NotAnIndex."""
    contents = parsed(buffer)
    problems_of(buffer)
    _, start = _header(buffer)
    checksum, view = 0, memoryview(buffer)
    for first in range(start, len(buffer), _CHUNK):
        checksum = zlib.crc32(view[first : first + _CHUNK], checksum)
    if checksum != _PREAMBLE.unpack_from(buffer)[3]:
        raise NotAnIndex("checksum does not fit")
    sizes = np.repeat([shard.bytes for shard in contents.shards], [shard.samples for shard in contents.shards])
    for first in range(0, len(contents.table), _ROWS_AT_ONCE):
        rows = slice(first, first + _ROWS_AT_ONCE)
        offsets, lengths = contents.table[rows, :, 0], contents.table[rows, :, 1]
        inside = (offsets >= 0) & (lengths >= 0) & (lengths <= LARGEST_MEMBER)
        inside &= lengths <= sizes[rows, None] - offsets
        if not (inside | ((offsets == -1) & (lengths == -1))).all():
            raise NotAnIndex("a member lies outside its shard")
        if (np.diff(contents.key_ends[first : first + _ROWS_AT_ONCE + 1]) < 0).any():
            raise NotAnIndex("keys out of order")


def _header(buffer: Buffer) -> tuple[dict[str, Any], int]:
    """The header, and where what follows it begins."""
    if len(buffer) < _PREAMBLE.size:
        raise NotAnIndex("shorter than its preamble")
    magic, length, checksum, _ = _PREAMBLE.unpack_from(buffer)
    start = _PREAMBLE.size + length
    if magic != _MAGIC or length > _LONGEST_HEADER or start > len(buffer):
        raise NotAnIndex("not an index file, or cut off")
    text = buffer[_PREAMBLE.size : start]
    if zlib.crc32(text) != checksum:
        raise NotAnIndex("checksum of the header does not fit")
    try:
        header = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise NotAnIndex(f"header is no JSON ({error})") from error
    if not isinstance(header, dict) or header.get("version") != VERSION:
        raise NotAnIndex(f"of another version, expected {VERSION}")
    return header, start


def _typed(kind: type, given: Any) -> dict[str, Any]:
    """The fields of a dataclass of int and str, each of its type."""
    fields = {name: field.type for name, field in kind.__dataclass_fields__.items()}  # type: ignore[attr-defined]
    if given.keys() != fields.keys() or any(type(given[name]) is not fields[name] for name in fields):
        raise TypeError(f"expected {', '.join(fields)}")
    return dict(given)


def _check_shards(shards: Sequence[Shard], members: Sequence[str]) -> None:
    names = [shard.name for shard in shards]
    if names != sorted(set(names)) or any("/" in name or not name.endswith(".tar") for name in names):
        raise NotAnIndex("shards that are not in order of name, or not .tar files of one folder")
    if any(not 0 <= shard.samples <= 1 << 40 or not 0 <= shard.bytes <= 1 << 60 for shard in shards):
        raise NotAnIndex("shards of impossible sizes")
    if len(set(members)) != len(members) or len(members) > MOST_MEMBERS:
        raise NotAnIndex(f"members repeat, or are more than {MOST_MEMBERS}")
