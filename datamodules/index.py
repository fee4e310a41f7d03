"""Where every member of every sample lies: tars are walked once, then read by byte range."""

import os
import tempfile
from collections.abc import Collection, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from datamodules.index_file import (
    INDEX_FILE,
    Buffer,
    Contents,
    NotAnIndex,
    check,
    mapped,
    packed,
    parsed,
    problems_of,
    save,
)
from datamodules.indexing import build
from datamodules.remote_store import FsspecStore
from datamodules.scan import UNPRINTABLE, Problem, printable
from datamodules.shard_cache import CachedStore, cache_folder, cached_name
from datamodules.shards import DECODERS, BadSample, Sample, decode
from datamodules.stamps import save_stamps, stamps_of, still_fit
from datamodules.stores import LocalStore, Range, Store, is_plain_name, is_url
from hallo3_lightning.errors import UsageError, unknown

TAR = ".tar"
_CHUNK = 1 << 24
_NAMED = 12
"""Keys that are named where one is not found."""

COMPRESSED = (".tar.gz", ".tgz", ".tar.bz2", ".tar.xz", ".tar.zst")


class Index:
    """The samples of a data set, in the order of shard names and of the samples in them.

    It lies in a mapped file: a worker that gets a copy maps the same file, whatever its size.
    """

    def __init__(self, store: Store, source: Path | bytes) -> None:
        """source: the index file, checked before, or what would stand in it."""
        self.store = store
        self._source = source
        self._buffer: Buffer = mapped(source) if isinstance(source, Path) else source
        self._contents: Contents = parsed(self._buffer)
        self.samples_per_shard = np.array([shard.samples for shard in self._contents.shards], np.int64)
        """[S], shards in order of name."""
        self._shard_ends = np.cumsum(self.samples_per_shard)

    def __getstate__(self) -> dict[str, Any]:
        return {"store": self.store, "source": self._source, "digest": self.digest}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__init__(state["store"], state["source"])  # type: ignore[misc]
        if self.digest != state["digest"]:
            raise UsageError(f"{self.name}: its index was written anew while it was read; start again")

    def __len__(self) -> int:
        return len(self._contents.table)

    @property
    def name(self) -> str:
        """The folder or URL of the shards."""
        return self.store.place

    @property
    def digest(self) -> str:
        """16 hex digits of all the shards' bytes and of which samples were kept: changes when any sample does."""
        return self._contents.digest

    @property
    def shards(self) -> tuple[str, ...]:
        """Names of the shards, sorted."""
        return tuple(shard.name for shard in self._contents.shards)

    @property
    def member_names(self) -> tuple[str, ...]:
        """Names of the members that any sample has, sorted."""
        return self._contents.members

    @property
    def shard_bytes(self) -> int:
        """Bytes of all shards."""
        return sum(shard.bytes for shard in self._contents.shards)

    @cached_property
    def problems(self) -> tuple[Problem, ...]:
        """What was left out, and why."""
        return problems_of(self._buffer)

    @property
    def verified(self) -> bool:
        """Whether every sample was decoded once when it was indexed."""
        return self._contents.verified

    @property
    def repeated_keys(self) -> int:
        """Samples whose key stands in several shards; `key` gives key@shard for them."""
        return self._contents.repeated_keys

    def key(self, number: int) -> str:
        """The key of sample `number`, unique in the data set."""
        return self._contents.key(self._checked(number))

    def shard(self, number: int) -> str:
        """The name of the shard that holds it."""
        place = np.searchsorted(self._shard_ends, self._checked(number), side="right")
        return self._contents.shards[int(place)].name

    def members(self, number: int) -> tuple[str, ...]:
        """Names of its members, sorted."""
        return tuple(self.sizes(number))

    def sizes(self, number: int) -> dict[str, int]:
        """Bytes of each of its members."""
        lengths = self._contents.table[self._checked(number), :, 1]
        return {name: int(size) for name, size in zip(self._contents.members, lengths, strict=True) if size >= 0}

    def number(self, key: str) -> int:
        """The sample of a key; raises UsageError where there is none."""
        wanted, keys, ends = key.encode(errors="replace"), self._contents.keys.tobytes(), self._contents.key_ends
        place = keys.find(wanted)
        while place >= 0:
            number = int(np.searchsorted(ends, place, side="left"))
            if number < len(self) and ends[number] == place and ends[number + 1] - place == len(wanted):
                return number
            place = keys.find(wanted, place + 1)
        raise unknown("sample", key, [self.key(number) for number in range(min(len(self), _NAMED))], self.name)

    def totals(self) -> dict[str, tuple[int, int]]:
        """Of each member: how many samples have it, and its bytes in all of them."""
        sizes = self._contents.table[:, :, 1]
        counts, bytes_ = (sizes >= 0).sum(0).tolist(), np.where(sizes >= 0, sizes, 0).sum(0).tolist()
        return dict(zip(self.member_names, zip(counts, bytes_, strict=True), strict=True))

    def read_members(self, number: int, names: Collection[str] | None = None) -> dict[str, bytes]:
        """The bytes of its members of those names that it has; by default of all that are ever decoded.

        Raises OSError when they cannot be read now.
        """
        return self.read_many([number], names)[0]

    def read_many(self, numbers: Sequence[int], names: Collection[str] | None = None) -> list[dict[str, bytes]]:
        """As read_members for each number, with several reads in flight."""
        extents = [self._extents(number, DECODERS if names is None else names) for number in numbers]
        payloads = iter(self.store.read([wanted for sample in extents for wanted in sample.values()]))
        return [{name: next(payloads) for name in sample} for sample in extents]

    def read(self, number: int) -> Sample:
        """Sample `number`, decoded. Raises BadSample for a damaged one, OSError when it cannot be read now."""
        return decode(self.read_members(number), self.key(number), self.shard(number))

    def _extents(self, number: int, names: Collection[str]) -> dict[str, Range]:
        shard, row = self.shard(number), self._contents.table[number].tolist()
        pairs = zip(self._contents.members, row, strict=True)
        return {name: Range(shard, offset, size) for name, (offset, size) in pairs if size >= 0 and name in names}

    def _checked(self, number: int) -> int:
        if not 0 <= number < len(self):
            raise IndexError(f"{self.name}: no sample {number}, there are {len(self)}")
        return number


def open_index(
    place: str | Path, *, strict: bool = False, cache: Path | None = None, cache_gb: float | None = None
) -> Index:
    """The index of a folder of tars, or of an allowed URL that has an index.wdx beside its shards.

    A folder without an index, or with one older than a shard, is indexed, and the index saved there if we may write.
    strict: raise BadSample for the first sample that had to be left out. cache: folder for what is copied from a URL,
    by default shard_cache.cache_folder(); cache_gb: keep so much of whole shards there, which is for a single node; by
    default only ranges are read. Raises UsageError for a place without shards, OSError for one that does not answer.
    """
    index = _open_url(str(place), cache or cache_folder(), cache_gb) if is_url(place) else _open_folder(Path(place))
    if strict and index.problems:
        first = index.problems[0]
        message = (
            f"{index.name}: {len(index.problems)} problems; the first: {first.shard} '{first.key}': {first.reason}"
        )
        raise BadSample(message, shard=first.shard, key=first.key, member="", reason=first.reason)
    if len(index) == 0:
        why = f"; the first problem: {index.problems[0].shard}: {index.problems[0].reason}" if index.problems else ""
        raise UsageError(f"{index.name}: no sample can be read from its {len(index.shards)} shards{why}")
    return index


def shards_of(folder: Path) -> list[str]:
    """Names of the tars of a folder, links to nothing among them, sorted; raises UsageError when there are none."""
    tars = folder.glob(f"*{TAR}")
    names = sorted(path.name for path in tars if path.is_file() or (path.is_symlink() and not path.exists()))
    for name in names:
        if UNPRINTABLE.search(name):
            raise UsageError(f"{folder} has a shard named {printable(name)}; rename it without control characters")
    if names:
        return names
    if folder.name.endswith(COMPRESSED) or any(any(folder.glob(f"*{end}")) for end in COMPRESSED):
        raise UsageError(f"{folder}: compressed shards cannot be read by byte range; decompress them to .tar")
    what = "holds no .tar shards" if folder.is_dir() else "does not exist"
    raise UsageError(f"{folder} {what}; make procedural ones with: hallo3 synthesize {folder.parent}")


def saved_index(folder: Path) -> Index | None:
    """The index in a folder; None if it is not there, damaged, of another version, or not of these shards."""
    path, store = folder / INDEX_FILE, LocalStore(folder)
    if not _is_whole(path):
        return None
    index = Index(store, path)
    return index if shards_of(folder) == list(index.shards) and still_fit(index._contents, store, path) else None


def build_index(folder: Path, *, verify: bool = False, workers: int = 1, strict: bool = False) -> Index:
    """Index a folder, and save the index there if we may write; with `strict`, only if nothing had to be left out."""
    store, shards = LocalStore(folder), shards_of(folder)
    stamps = stamps_of(folder, shards)  # before they are read: one that changes meanwhile is read again
    contents = build(store, shards, verify=verify, workers=workers)
    if not os.access(folder, os.W_OK) or (strict and contents.problems):
        return Index(store, b"".join(packed(contents)))
    save(folder / INDEX_FILE, contents)
    save_stamps(folder, contents.digest, stamps)
    return Index(store, folder / INDEX_FILE)


def build_remote_index(url: str, out: Path, *, verify: bool = False, workers: int = 1, strict: bool = False) -> Index:
    """Index the shards behind a URL that can be listed, and save the index as `out`, to be put beside them.

    Their own tags stand in for their bytes in its digest, which is therefore another than that of a local copy.
    """
    store = FsspecStore(url)
    shards = [name for name in store.names() if name.endswith(TAR)]
    if not shards:
        raise UsageError(f"{url} lists no .tar shards; index them where they are made, and upload {INDEX_FILE} too")
    contents = build(store, shards, verify=verify, workers=workers)
    if not (strict and contents.problems):
        save(out, contents)
    return Index(store, b"".join(packed(contents)))


def _open_folder(folder: Path) -> Index:
    shards_of(folder)
    return saved_index(folder) or build_index(folder)


def _open_url(url: str, cache: Path, cache_gb: float | None) -> Index:
    store = FsspecStore(url)
    try:
        stat = store.stat(INDEX_FILE)
    except FileNotFoundError as error:
        raise UsageError(
            f"{url} has no {INDEX_FILE}; make one with: hallo3 index, where the shards are or with their URL, and put it "
            "beside them"
        ) from error
    path = cache / "indexes" / f"{cached_name(store.place, INDEX_FILE, stat)}.wdx"
    if not _is_whole(path):
        _fetch(store, stat.size, path)
    contents = parsed(mapped(path))
    sizes = {shard.name: shard.bytes for shard in contents.shards}
    tags = {shard.name: shard.digest for shard in contents.shards} if contents.by_tag else {}
    for name in sizes:
        if not is_plain_name(name):
            raise UsageError(f"{url}/{INDEX_FILE} names a shard {name!r}; use letters, digits, '.', '-', '_'")
    ranges = FsspecStore(url, sizes, tags)
    return Index(ranges if cache_gb is None else CachedStore(ranges, cache / "shards", int(cache_gb * 1e9)), path)


def _is_whole(path: Path) -> bool:
    try:
        check(mapped(path))
    except (OSError, NotAnIndex):
        return False
    return True


def _fetch(store: Store, size: int, path: Path) -> None:
    """Copy the index of a URL here, so that all processes of this machine map one file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=path.parent, prefix=".fetched-") as folder:
        fetched = Path(folder) / INDEX_FILE
        with fetched.open("wb") as file:
            for offset in range(0, size, _CHUNK):
                file.write(store.read([Range(INDEX_FILE, offset, min(_CHUNK, size - offset))])[0])
        try:
            check(mapped(fetched))
        except NotAnIndex as error:
            raise UsageError(
                f"{store.place}/{INDEX_FILE} cannot be used: {error}; index the shards again, and upload the index"
            ) from error
        fetched.replace(path)
