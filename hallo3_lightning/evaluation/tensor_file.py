"""Tensors on disk with a record of what they are: the file appears when it is whole, and a damaged one counts as none."""

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

RECORD = "record"


def write(file: Path, tensors: Mapping[str, Tensor], record: Mapping[str, Any]) -> None:
    """Write both, in place of what is there. Raises OSError."""
    file.parent.mkdir(parents=True, exist_ok=True)
    partial = file.with_name(f"{file.stem}-{os.getpid()}.partial")
    told = json.dumps({"tensors": sorted(tensors), RECORD: record})
    # not save_file, whose error for a full disk is no OSError and knows no errno
    partial.write_bytes(save(dict(tensors), {RECORD: told}))
    partial.replace(file)


def record_of(file: Path) -> dict[str, Any] | None:
    """The record; None where there is no file, or not all of one that `write` has written."""
    try:
        with safe_open(file, framework="pt") as opened:
            told = json.loads(opened.metadata()[RECORD])
            whole = told["tensors"] == sorted(opened.keys())
        record = told[RECORD]
    except (OSError, SafetensorError, LookupError, TypeError, ValueError, RecursionError):
        return None
    return record if whole and isinstance(record, dict) else None


def tensors_of(file: Path) -> dict[str, Tensor]:
    """All tensors by name, of a file that has a record."""
    with safe_open(file, framework="pt") as opened:
        return {key: opened.get_tensor(key) for key in opened.keys()}  # noqa: SIM118
