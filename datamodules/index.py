"""Where every member of every sample lies: tars are walked once, then read by byte range."""

import hashlib
import json
import os
import re
import tarfile
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from datamodules.shards import DECODERS, BadSample, Sample, decode
from hallo3_lightning.errors import UsageError

INDEX_FILE = "index.json"
_VERSION = 2
"""Raise it with every change of what `scan` accepts: indexes of before are then built anew."""

_TAR_END = 1024
"""Bytes of zeros that end a tar, at the least: two blocks (POSIX.1-2017, pax, ustar interchange format)."""

_CHUNK = 1 << 20

_MEMBER = re.compile(r"(?:\./)*(?P<key>(?:.*/)?[^./][^./]*)\.(?P<name>[^/]+)")
"""WebDataset's rule: the key ends at the first dot of the file's name."""

Range = tuple[int, int]
"""Offset and size, in bytes."""


@dataclass(frozen=True)
class Row:
    """One sample: its shard, its key, and where its members lie."""

    shard: str
    key: str
    members: Mapping[str, Range]


@dataclass(frozen=True)
class Index:
    """The samples of a folder of shards, in the order of shard names and of the samples in them."""

    folder: Path
    rows: tuple[Row, ...]
    digest: str
    """Of all the shards' bytes: changes when any sample does."""

    def __len__(self) -> int:
        return len(self.rows)

    def read(self, number: int) -> Sample:
        """Sample `number` of the folder, decoded."""
        row = self.rows[number]
        with (self.folder / row.shard).open("rb", buffering=0) as file:
            members = {
                name: os.pread(file.fileno(), size, offset)
                for name, (offset, size) in row.members.items()
                if name in DECODERS
            }
        return decode(members, row.key, row.shard)


def open_index(folder: Path) -> Index:
    """The index of a folder of tars, built and saved beside them when there is none or when a shard is newer.

    Raises UsageError when the folder is missing or holds no shard.
    """
    shards = sorted(folder.glob("*.tar"))
    if not shards:
        what = "holds no .tar shards" if folder.is_dir() else "does not exist"
        raise UsageError(f"{folder} {what}; make procedural ones with: hallo3 synthesize {folder.parent}")
    saved = _load(folder, shards)
    if saved is not None:
        return saved
    table = _build(shards)
    if os.access(folder, os.W_OK):
        _save(folder / INDEX_FILE, table)
    return _index(folder, table)


def scan(shard: Path) -> dict[str, dict[str, Range]]:
    """Key -> member -> byte range, in the order of the tar, read from its headers alone.

    Only plain files count; names are never made into paths. Raises BadSample for a damaged or repeating tar.
    """
    size = shard.stat().st_size
    samples: dict[str, dict[str, Range]] = {}
    try:
        with tarfile.open(shard, "r:") as tar:
            for entry in tar:
                match = _MEMBER.fullmatch(entry.name)
                if not entry.isfile() or entry.issparse() or match is None:
                    continue
                if entry.offset_data + entry.size > size:
                    raise BadSample(f"{shard}: ends within {entry.name}; the shard is truncated, copy it again")
                members = samples.setdefault(match["key"], {})
                if match["name"] in members:
                    raise BadSample(f"{shard}: sample '{match['key']}' has member {match['name']} twice")
                members[match["name"]] = (entry.offset_data, entry.size)
            walked = tar.offset
    except tarfile.TarError as error:
        raise BadSample(f"{shard}: not a whole plain tar ({error}); copy or write it again") from error
    if not _ends_at(shard, walked):
        raise BadSample(
            f"{shard}: damaged or truncated at byte {walked} of {size}, where there is neither a member nor the zeros "
            "that end a tar; copy or write it again"
        )
    return samples


def _ends_at(shard: Path, offset: int) -> bool:
    """Whether zeros follow up to the end of the file: tarfile stops at a broken header as if the tar ended there."""
    if shard.stat().st_size - offset < _TAR_END:
        return False
    with shard.open("rb") as file:
        file.seek(offset)
        return all(not chunk.strip(bytes(1)) for chunk in iter(lambda: file.read(_CHUNK), b""))


def _build(shards: list[Path]) -> dict[str, Any]:
    return {
        "version": _VERSION,
        "shards": [
            {"name": shard.name, "bytes": shard.stat().st_size, "blake2b": _hash(shard), "samples": scan(shard)}
            for shard in shards
        ],
    }


def _load(folder: Path, shards: list[Path]) -> Index | None:
    """The saved index, or None if it is not there, damaged, of another version, or older than a shard."""
    saved = folder / INDEX_FILE
    if not saved.is_file():
        return None
    built_ns = saved.stat().st_mtime_ns
    if any(shard.stat().st_mtime_ns > built_ns for shard in shards):
        return None
    try:
        table = json.loads(saved.read_text())
        known = [(shard["name"], shard["bytes"]) for shard in table["shards"]]
        if table["version"] != _VERSION or known != [(shard.name, shard.stat().st_size) for shard in shards]:
            return None
        return _index(folder, table)
    except (ValueError, KeyError, TypeError, AttributeError):  # not JSON, or not of this shape
        return None


def _index(folder: Path, table: dict[str, Any]) -> Index:
    rows = tuple(
        Row(shard["name"], key, {name: (offset, size) for name, (offset, size) in members.items()})
        for shard in table["shards"]
        for key, members in shard["samples"].items()
    )
    return Index(folder, rows, _digest(table))


def _save(saved: Path, table: dict[str, Any]) -> None:
    """Under a name of its own first: several ranks may do this at once."""
    with tempfile.NamedTemporaryFile("w", dir=saved.parent, prefix=".index-", delete=False) as file:
        json.dump(table, file)
    Path(file.name).chmod(0o644)
    Path(file.name).replace(saved)


def _hash(shard: Path) -> str:
    with shard.open("rb") as file:
        return hashlib.file_digest(file, lambda: hashlib.blake2b(digest_size=16)).hexdigest()


def _digest(table: dict[str, Any]) -> str:
    named = [[shard["name"], shard["blake2b"]] for shard in table["shards"]]
    return hashlib.blake2b(json.dumps(named).encode(), digest_size=8).hexdigest()
