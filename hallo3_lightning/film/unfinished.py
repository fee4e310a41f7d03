"""What lies beside a film until it is finished: the request it is made for, and where to go on."""

import fcntl
import hashlib
import json
import os
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import IO, Any

from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from hallo3_lightning.animation.animator import Continuation
from hallo3_lightning.errors import UsageError
from hallo3_lightning.film.files.film import BEGINNING, Place, on_disk

SUFFIX = ".unfinished"

STATE, ASIDE, LOCK = "state.safetensors", "state.safetensors.partial", "lock"
"""The files in it. Others are not ours."""

UNKNOWN = object()
"""Stands for a fact that nobody knows yet, and differs from none; it cannot be written."""

ABOUT, DIGEST, MOTION = "about", "digest", "motion"


@dataclass(frozen=True)
class Kept:
    """The film up to a border of windows, and the motion frames that the next one begins with."""

    place: Place = BEGINNING
    following: Continuation | None = None
    """None at the beginning."""


class Unfinished:
    """The folder OUT.unfinished: held by the one process that makes the film, gone when it is finished.

    Args:
        out: the film.
        beside: files that the making needs beside it. They are its own if the folder says where to go on.
    """

    def __init__(self, out: Path, beside: Sequence[Path] = ()) -> None:
        self.folder, self.beside = out.with_name(f"{out.name}{SUFFIX}"), beside
        self._lock: IO[str] | None = None

    @property
    def is_there(self) -> bool:
        return (self.folder / STATE).is_file()

    def hold(self) -> None:
        """Raise UsageError where another process makes the same film, or nothing can be made there."""
        while self._lock is None:
            lock = self._opened()
            if lock is None:
                continue
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                lock.close()
                raise UsageError(
                    f"another process is making the film that {self.folder} belongs to; wait for it, or name another --out"
                ) from None
            if self._is_there_still(lock):
                self._lock = lock

    def refuse_others(self) -> None:
        """Raise UsageError where a file that the making needs is there, and not as its own."""
        for file in () if self.is_there else self.beside:
            if file.exists() or file.is_symlink():
                raise UsageError(
                    f"{file} is there, {self.folder} does not say that it belongs to an unfinished film, and it would be "
                    "replaced; move or delete it, or name another --out"
                )

    def keep(self, facts: Mapping[str, Any], kept: Kept) -> None:
        """Whole or not at all, also after a crash."""
        about = {"facts": facts, "place": asdict(kept.place), "window": 0}
        tensors = {}
        if kept.following is not None:
            about["window"] = kept.following.window
            tensors[MOTION] = kept.following.motion.cpu().contiguous()
        aside, told = self.folder / ASIDE, json.dumps(about)
        aside.write_bytes(save(tensors, {ABOUT: told, DIGEST: _digest(told, tensors)}))
        on_disk(aside)
        aside.replace(self.folder / STATE)
        on_disk(self.folder)

    def kept(self, facts: Mapping[str, Any]) -> Kept:
        """Raises UsageError where it was made for another request, naming what differs, or is damaged."""
        about, tensors = self._read()
        other = differing(about["facts"], facts)
        if other:
            raise UsageError(
                f"{self.folder} is of another film, differing in {', '.join(other)}; give those again to go on, "
                "--overwrite to begin anew, or another --out"
            )
        following = Continuation(about["window"], tensors[MOTION]) if tensors else None
        return Kept(Place(**about["place"]), following)

    def remove(self) -> None:
        """The film is finished: what only its making needed goes, and nobody else's files."""
        for file in (*(self.beside if self.is_there else ()), self.folder / STATE):
            file.unlink(missing_ok=True)

    def let_go(self) -> None:
        """Another process may hold it now; a folder without a film goes while none can."""
        if self._lock is None:
            return
        if not self.is_there:
            for name in (ASIDE, LOCK):
                (self.folder / name).unlink(missing_ok=True)
            with suppress(OSError):  # somebody else's files are in it, or it is gone
                self.folder.rmdir()
        self._lock.close()
        self._lock = None

    def _read(self) -> tuple[dict[str, Any], dict[str, Tensor]]:
        """What `keep` wrote, as it wrote it. Raises UsageError for anything else: no other value need be expected."""
        try:
            with safe_open(self.folder / STATE, framework="pt") as file:
                told, tensors = file.metadata() or {}, {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        except SafetensorError as error:
            raise self._damaged("it was cut off or edited") from error
        if told.get(DIGEST) != _digest(told.get(ABOUT, ""), tensors):
            raise self._damaged("it is not as it was written")
        return json.loads(told[ABOUT]), tensors

    def _damaged(self, reason: str) -> UsageError:
        return UsageError(f"{self.folder} is damaged ({reason}); begin again with --overwrite")

    def _opened(self) -> IO[str] | None:
        """The lock; None where another process has removed the folder just now."""
        try:
            self.folder.mkdir(exist_ok=True)
            for name in (STATE, ASIDE):
                if (self.folder / name).is_dir():
                    raise UsageError(f"{self.folder / name} is a folder and should be a file; move or delete it")
            return (self.folder / LOCK).open("a")
        except OSError as error:
            if isinstance(error, FileNotFoundError) and self.folder.parent.is_dir() and not self.folder.is_dir():
                return None
            raise UsageError(f"{self.folder} cannot be made ({error.strerror}); name another --out") from error

    def _is_there_still(self, lock: IO[str]) -> bool:
        """Not where another process has removed it while this one waited for its turn."""
        try:
            return os.path.samestat(os.fstat(lock.fileno()), (self.folder / LOCK).stat())
        except FileNotFoundError:
            return False


def _digest(about: str, tensors: Mapping[str, Tensor]) -> str:
    return hashlib.sha256(about.encode() + save(dict(tensors))).hexdigest()


def differing(one: Mapping[str, Any], other: Mapping[str, Any]) -> list[str]:
    """Names of the facts that are known of both and not the same, with both values where they are short."""
    unknown = {name for facts in (one, other) for name, value in facts.items() if value is UNKNOWN}
    here, there = (
        json.loads(json.dumps({name: value for name, value in facts.items() if name not in unknown}))
        for facts in (one, other)
    )
    return [
        f"{name} ({_short(here.get(name))} there, {_short(there.get(name))} here)"
        for name in sorted(here.keys() | there.keys())
        if here.get(name) != there.get(name)
    ]


def _short(value: Any) -> str:
    text = value if isinstance(value, str) else json.dumps(value)
    return text if len(text) <= 40 else f"{text[:12]}..."
