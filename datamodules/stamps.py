"""When the shards of a folder were last written, as it was when they were indexed: kept beside the index, not in it.

The index holds what the bytes of the shards decide, and is the same wherever they were copied to.
"""

import json
import os
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path

from datamodules.index_file import NOTHING, Contents
from datamodules.scan import content_digest
from datamodules.stores import LocalStore

STAMPS_FILE = ".index.stamps"

Stamps = Mapping[str, int]
"""Shard -> nanoseconds; one that is not there has none."""


def stamps_of(folder: Path, shards: Sequence[str]) -> Stamps:
    """Those of the shards as they are now."""
    return {name: (folder / name).stat().st_mtime_ns for name in shards if (folder / name).exists()}


def saved_stamps(folder: Path, digest: str) -> Stamps | None:
    """Those noted with the index of that digest; None where there are none, or none that can be read."""
    try:
        told = json.loads((folder / STAMPS_FILE).read_text())
        return {str(name): int(when) for name, when in told["shards"].items()} if told["digest"] == digest else None
    except (OSError, ValueError, LookupError, TypeError, AttributeError):
        return None


def save_stamps(folder: Path, digest: str, stamps: Stamps) -> None:
    """Note them, whole or not at all; several processes may do so at once."""
    partial = folder / f"{STAMPS_FILE}.{os.getpid()}"
    partial.write_text(json.dumps({"digest": digest, "shards": dict(stamps)}))
    partial.replace(folder / STAMPS_FILE)


def still_fit(contents: Contents, store: LocalStore, index: Path) -> bool:
    """Whether the shards of a folder have the bytes that were indexed; one of another time is hashed again.

    index: the file. What is found to fit is noted, so that it is hashed once.
    """
    built_ns, saved = index.stat().st_mtime_ns, saved_stamps(store.folder, contents.digest)
    now = stamps_of(store.folder, [shard.name for shard in contents.shards])
    for shard in contents.shards:
        if (shard.name in now) != (shard.digest != NOTHING):
            return False
        if shard.name not in now:
            continue
        if store.stat(shard.name).size != shard.bytes:
            return False
        # without a note of their times, as of an index that was copied without it, only newer shards are doubted
        is_known = now[shard.name] <= built_ns if saved is None else now[shard.name] == saved.get(shard.name)
        if not is_known and content_digest(store, shard.name, shard.bytes) != shard.digest:
            return False
    if saved != now and os.access(store.folder, os.W_OK):
        with suppress(OSError):  # a full disk is no fault of the shards
            save_stamps(store.folder, contents.digest, now)
    return True
