"""When the shards of a folder were last written, as it was when they were indexed: kept beside the index, not in it.

The index holds what the bytes of the shards decide, and is the same wherever they were copied to.
"""

import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path

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
