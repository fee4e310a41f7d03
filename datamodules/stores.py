"""Where the bytes of shards come from: byte ranges of files, here those of a local folder."""

import hashlib
import os
import re
import threading
from collections import OrderedDict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from hallo3_lightning.errors import UsageError

OPEN_FILES = 64
_PLAIN_NAME = re.compile(r"[\w@+=,~-][\w.@+=,~-]*", re.ASCII)
"""A file name that means itself in every URL."""


@dataclass(frozen=True)
class Range:
    """Some bytes of one shard."""

    shard: str
    offset: int
    size: int


@dataclass(frozen=True)
class Stat:
    """What a store knows of a file without reading it; tag is its ETag or what stands for it, "" if there is none."""

    size: int
    tag: str


def tag_digest(stat: Stat) -> str:
    """32 hex digits of what a store says of a file: they change when it does."""
    return hashlib.blake2b(f"{stat.size}/{stat.tag}".encode(), digest_size=16).hexdigest()


class Store(Protocol):
    """Files of one folder, read by byte range."""

    place: str
    gap: int
    """Bytes not asked for that cost less to read than a request of their own."""

    def stat(self, name: str) -> Stat:
        """Size and tag of a file; OSError if there is none."""

    def names(self) -> list[str]:
        """The files of the folder, sorted."""

    def read(self, ranges: Sequence[Range]) -> list[bytes]:
        """The bytes of each range, neighbours read together; OSError for what cannot be read."""


def is_url(place: str | Path) -> bool:
    """Whether a place is meant as a URL, allowed or not: whatever begins with a scheme and a colon."""
    return isinstance(place, str) and re.match(r"[A-Za-z][\w+.-]*:", place) is not None


def is_plain_name(name: str) -> bool:
    """Whether a file's name means itself in every URL."""
    return _PLAIN_NAME.fullmatch(name) is not None


def coalesced(ranges: Sequence[Range], gap: int) -> list[tuple[Range, list[int]]]:
    """Ranges to read, at most `gap` bytes of no use between neighbours, each with the numbers of those it covers."""
    merged: list[tuple[Range, list[int]]] = []
    for number in sorted(range(len(ranges)), key=lambda i: (ranges[i].shard, ranges[i].offset)):
        wanted = ranges[number]
        if merged:
            last, covered = merged[-1]
            end = last.offset + last.size
            if last.shard == wanted.shard and wanted.offset <= end + gap:
                size = max(end, wanted.offset + wanted.size) - last.offset
                merged[-1] = (Range(last.shard, last.offset, size), [*covered, number])
                continue
        merged.append((wanted, [number]))
    return merged


def apart(
    ranges: Sequence[Range], gap: int, fetch: Callable[[list[Range]], Iterator[bytes] | list[bytes]]
) -> list[bytes]:
    """Read the ranges merged by `fetch`, at most `gap` bytes of no use between neighbours, and cut each one out again."""
    merged = coalesced(ranges, gap)
    parts = [b""] * len(ranges)
    for (read, covered), payload in zip(merged, fetch([read for read, _ in merged]), strict=True):
        for number in covered:
            first = ranges[number].offset - read.offset
            parts[number] = payload[first : first + ranges[number].size]
    return parts


class _Descriptor:
    """An open file, closed when the last reader lets go of it."""

    def __init__(self, path: Path) -> None:
        self.number = os.open(path, os.O_RDONLY | os.O_CLOEXEC)

    def __del__(self) -> None:
        if hasattr(self, "number"):
            os.close(self.number)


class LocalStore:
    """Files of a local folder, the last OPEN_FILES of them kept open."""

    gap = 4096

    def __init__(self, folder: Path, open_files: int = OPEN_FILES) -> None:
        self.folder = folder
        self.open_files = open_files
        self.place = str(folder)
        self._open: OrderedDict[str, _Descriptor] = OrderedDict()
        self._lock = threading.Lock()

    def __getstate__(self) -> dict[str, Any]:
        return {"folder": self.folder, "open_files": self.open_files}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__init__(**state)  # type: ignore[misc]

    def stat(self, name: str) -> Stat:
        """Size of a file; its tag is when it was last written."""
        found = (self.folder / name).stat()
        return Stat(found.st_size, str(found.st_mtime_ns))

    def names(self) -> list[str]:
        """The files of the folder, sorted."""
        return sorted(path.name for path in self.folder.iterdir() if path.is_file())

    def read(self, ranges: Sequence[Range]) -> list[bytes]:
        """The bytes of each range; several are announced to the system first, which fetches them together."""
        return apart(ranges, self.gap, self._fetch)

    def _fetch(self, ranges: list[Range]) -> Iterator[bytes]:
        if len(ranges) > 1:
            for wanted in ranges:
                file = self._file(wanted.shard)
                os.posix_fadvise(file.number, wanted.offset, wanted.size, os.POSIX_FADV_WILLNEED)
        for wanted in ranges:
            yield self._pread(wanted)

    def _pread(self, wanted: Range) -> bytes:
        """One read gives at most 2 GiB."""
        file = self._file(wanted.shard)
        payload = os.pread(file.number, wanted.size, wanted.offset)
        while payload and len(payload) < wanted.size:
            more = os.pread(file.number, wanted.size - len(payload), wanted.offset + len(payload))
            if not more:
                break
            payload += more
        return whole(payload, wanted, self.place)

    def _file(self, name: str) -> _Descriptor:
        with self._lock:
            file = self._open.pop(name, None) or _Descriptor(self.folder / name)
            self._open[name] = file
            if len(self._open) > self.open_files:
                self._open.popitem(last=False)
            return file


def whole(payload: bytes, wanted: Range, place: str) -> bytes:
    """The payload; raises UsageError where it is not all of what was wanted."""
    if len(payload) != wanted.size:
        raise UsageError(
            f"{place}/{wanted.shard}: ends at byte {wanted.offset + len(payload)}, its index knows more; "
            "it has changed since it was indexed, index it again with: hallo3 index"
        )
    return payload
