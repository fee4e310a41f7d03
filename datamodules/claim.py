"""A folder that a verb makes: what it is made with is written down first, and what others made is left alone."""

import json
import os
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

from hallo3_lightning.errors import UsageError

MANIFEST = "dataset.json"
"""{"arguments", "fingerprint"} of a data set; the fingerprint is null until all of it is there."""


def make_folder(folder: Path) -> None:
    """The folder, if it is not there; UsageError where a file is in its way."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except (FileExistsError, NotADirectoryError) as error:
        raise UsageError(f"cannot write {folder}: it is a file, or lies below one; name another folder") from error


def is_new(
    out: Path,
    made_with: Mapping[str, Any] | None,
    wanted: Mapping[str, Any],
    *,
    strangers: Iterable[Path],
    option: Callable[[str], str] = str,
) -> bool:
    """Whether the folder is nobody's yet: it is not said what it was made with.

    Raises UsageError for a folder that was made with something else than `wanted`, and for a new one that holds
    `strangers`. option: what the user calls an argument.
    """
    if made_with is None:
        found = next(iter(strangers), None)
        if found is not None:
            raise UsageError(f"{out} holds {found.relative_to(out)}, which is none of ours; choose an empty folder")
        return True
    differing = [
        f"{option(name)} {made_with.get(name)} there, {wanted.get(name)} asked for"
        for name in sorted(made_with.keys() | wanted.keys())
        if made_with.get(name) != wanted.get(name)
    ]
    if differing:
        raise UsageError(
            f"{out} was made with other arguments ({'; '.join(differing)}); choose another folder, or remove this one "
            "to make it anew"
        )
    return False


def claim_data_set(
    out: Path, arguments: Mapping[str, Any], strangers: Iterable[Path], option: Callable[[str], str]
) -> None:
    """Write down what a data set is made with, or check it against what it was made with; see `is_new`."""
    wanted = as_json(arguments)
    if is_new(out, _arguments(out / MANIFEST), wanted, strangers=strangers, option=option):
        write_json(out / MANIFEST, {"arguments": wanted, "fingerprint": None})


def finish_data_set(out: Path, arguments: Mapping[str, Any], digests: Iterable[str]) -> None:
    """Write down the fingerprint: the digests of both splits."""
    write_json(out / MANIFEST, {"arguments": as_json(arguments), "fingerprint": "-".join(digests)})


def _arguments(manifest: Path) -> dict[str, Any] | None:
    """What a data set was made with; None where nobody says."""
    if not manifest.exists():
        return None
    try:
        return dict(json.loads(manifest.read_text())["arguments"])
    except (ValueError, LookupError, TypeError) as error:
        raise UsageError(
            f"{manifest} does not say what this folder was made with; choose another folder, or remove this one to "
            "make it anew"
        ) from error


def as_json(content: Mapping[str, Any]) -> dict[str, Any]:
    """As json gives it back."""
    return dict(json.loads(json.dumps(content)))


def write_json(file: Path, content: object) -> None:
    """The file appears under its name only when it is whole, also where the power fails."""
    partial = file.with_name(f"{file.stem}-{os.getpid()}.partial")
    with partial.open("w") as opened:
        opened.write(json.dumps(content, indent=2) + "\n")
        opened.flush()
        os.fsync(opened.fileno())
    partial.replace(file)
