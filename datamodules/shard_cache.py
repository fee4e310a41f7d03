"""Whole shards kept on the disk of one node: fetched once, shared by its processes, the longest unused dropped first.

For one node, or for data that fits its disk: with many nodes each would fetch every shard, as all walk the same order,
where range reads move each byte once an epoch in total.
"""

import fcntl
import hashlib
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from datamodules.remote_store import FsspecStore
from datamodules.stores import LocalStore, Range, Stat

CHUNK = 1 << 24
ATTEMPTS = 3
_OPEN_FILES = 2
"""A file that was dropped keeps its room on the disk while it is open."""


def cache_folder() -> Path:
    """Where caches are kept unless said otherwise: $HALLO3_CACHE, or hallo3 in the user's cache folder."""
    given = os.environ.get("HALLO3_CACHE")
    return Path(given) if given else Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "hallo3"


def cached_name(place: str, name: str, stat: Stat) -> str:
    """The name of a file's copy: another one for another place, size or tag, and no part of it is given by a server."""
    return hashlib.sha256(f"{place}/{name}\0{stat.size}\0{stat.tag}".encode()).hexdigest()


class CachedStore:
    """A store whose shards are copied to a local folder as they are read, at most `limit_bytes` of them."""

    def __init__(self, store: FsspecStore, folder: Path, limit_bytes: int) -> None:
        self.store = store
        self.folder = folder
        self.limit_bytes = limit_bytes
        self.place = store.place
        self.gap = LocalStore.gap
        self._stats: dict[str, Stat] = {}
        self._kept = LocalStore(folder, open_files=_OPEN_FILES)
        (folder / "locks").mkdir(parents=True, exist_ok=True)

    def __getstate__(self) -> dict[str, Any]:
        return {"store": self.store, "folder": self.folder, "limit_bytes": self.limit_bytes}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__init__(**state)  # type: ignore[misc]

    def stat(self, name: str) -> Stat:
        """Size and tag of a file as it was when this process first asked."""
        if name not in self._stats:
            self._stats[name] = self.store.stat(name)
        return self._stats[name]

    def names(self) -> list[str]:
        """The files of the place, sorted."""
        return self.store.names()

    def read(self, ranges: Sequence[Range]) -> list[bytes]:
        """The bytes of each range, from the copies of their shards, which are fetched where they are not there."""
        parts = [b""] * len(ranges)
        for shard in dict.fromkeys(wanted.shard for wanted in ranges):
            numbers = [number for number, wanted in enumerate(ranges) if wanted.shard == shard]
            payloads = self._read_shard(shard, [ranges[number] for number in numbers])
            for number, payload in zip(numbers, payloads, strict=True):
                parts[number] = payload
        return parts

    def _read_shard(self, shard: str, ranges: list[Range]) -> list[bytes]:
        name = cached_name(self.place, shard, self.stat(shard))
        theirs = [Range(name, wanted.offset, wanted.size) for wanted in ranges]
        for _ in range(ATTEMPTS):
            with suppress(FileNotFoundError):
                os.utime(self.folder / name)  # when it was last used
                return self._kept.read(theirs)
            if not self._fetch(shard, name):
                break
        return self.store.read(ranges)  # too large, or dropped by others as fast as it comes

    def _fetch(self, shard: str, name: str) -> bool:
        """Copy a shard here; False where there is no room for it."""
        partial = self.folder / f"{name}.part"
        with self._alone(name):
            if (self.folder / name).exists():
                return True
            partial.unlink(missing_ok=True)  # of a process that was killed
            with self._alone("room"):
                if not self._make_room(self.stat(shard).size):
                    return False
                partial.touch()
                os.truncate(partial, self.stat(shard).size)  # takes its room, in the eyes of the others
            with partial.open("r+b") as file:
                for offset in range(0, self.stat(shard).size, CHUNK):
                    size = min(CHUNK, self.stat(shard).size - offset)
                    file.write(self.store.read([Range(shard, offset, size)])[0])
            partial.replace(self.folder / name)
        return True

    def _make_room(self, size: int) -> bool:
        """Drop the longest unused copies, and what a killed process left, until `size` more bytes fit."""
        for partial in self.folder.glob("*.part"):
            with self._alone(partial.stem, wait=False) as ours:
                if ours:
                    partial.unlink(missing_ok=True)
        found = [(path, path.stat()) for path in self.folder.iterdir() if path.is_file()]
        room = self.limit_bytes - size - sum(stat.st_size for _, stat in found)
        whole = [(path, stat) for path, stat in found if path.suffix != ".part"]
        if room + sum(stat.st_size for _, stat in whole) < 0:
            return False
        for path, stat in sorted(whole, key=lambda one: one[1].st_mtime_ns):
            if room >= 0:
                break
            path.unlink()
            room += stat.st_size
        return True

    @contextmanager
    def _alone(self, name: str, wait: bool = True) -> Iterator[bool]:
        """Hold a lock that goes with the process that holds it; whether it was got, where one does not wait for it."""
        with (self.folder / "locks" / name).open("w") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX if wait else fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                yield False
                return
            yield True
