"""What lies beside a film until it is finished: the request it is made for, and where to go on."""

import fcntl
import json
import os
import shutil
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import IO, Any

from safetensors import SafetensorError, safe_open
from safetensors.torch import save

from hallo3_lightning.animation.animator import Continuation
from hallo3_lightning.animation.film import BEGINNING, Place, on_disk
from hallo3_lightning.errors import UsageError

SUFFIX = ".unfinished"

STATE, LOCK, ABOUT, MOTION = "state.safetensors", "lock", "about", "motion"


@dataclass(frozen=True)
class Kept:
    """The film up to a border of windows, and the motion frames that the next one begins with."""

    place: Place = BEGINNING
    following: Continuation | None = None
    """None at the beginning."""


class Unfinished:
    """The folder OUT.unfinished: held by the one process that makes the film, gone when it is finished."""

    def __init__(self, out: Path) -> None:
        self.folder = out.with_name(f"{out.name}{SUFFIX}")
        self._lock: IO[str] | None = None

    @property
    def is_there(self) -> bool:
        return (self.folder / STATE).is_file()

    def hold(self) -> None:
        """Raise UsageError where another process makes the same film, or nothing can be made there."""
        while self._lock is None:
            lock = self._opened()
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                lock.close()
                raise UsageError(
                    f"another process is making the film that {self.folder} belongs to; wait for it, or name another --out"
                ) from None
            if self._is_there_still(lock):
                self._lock = lock

    def keep(self, facts: Mapping[str, Any], kept: Kept) -> None:
        """Whole or not at all, also after a crash."""
        about = {"facts": facts, "place": asdict(kept.place), "window": 0}
        tensors = {}
        if kept.following is not None:
            about["window"] = kept.following.window
            tensors[MOTION] = kept.following.motion.cpu().contiguous()
        aside = self.folder / f"{STATE}.partial"
        aside.write_bytes(save(tensors, {ABOUT: json.dumps(about)}))
        on_disk(aside)
        aside.replace(self.folder / STATE)
        on_disk(self.folder)

    def kept(self, facts: Mapping[str, Any]) -> Kept:
        """Raises UsageError where it was made for another request, naming what differs, or is damaged."""
        try:
            with safe_open(self.folder / STATE, framework="pt") as file:
                about = json.loads(file.metadata()[ABOUT])
                following = Continuation(about["window"], file.get_tensor(MOTION)) if about["window"] else None
            kept = Kept(Place(**about["place"]), following)
        except (SafetensorError, ValueError, LookupError, TypeError) as error:
            raise UsageError(f"{self.folder} is damaged ({error}); begin again with --overwrite") from error
        other = differing(about["facts"], facts)
        if other:
            raise UsageError(
                f"{self.folder} is of another film, differing in {', '.join(other)}; give those again to go on, "
                "--overwrite to begin anew, or another --out"
            )
        return kept

    def remove(self) -> None:
        """The film is finished."""
        shutil.rmtree(self.folder, ignore_errors=True)

    def let_go(self) -> None:
        """Another process may hold it now; a folder without a film goes while none can."""
        if not self.is_there:
            self.remove()
        if self._lock is not None:
            self._lock.close()
            self._lock = None

    def _opened(self) -> IO[str]:
        try:
            self.folder.mkdir(exist_ok=True)
            return (self.folder / LOCK).open("w")
        except OSError as error:
            raise UsageError(f"{self.folder} cannot be made ({error.strerror}); name another --out") from error

    def _is_there_still(self, lock: IO[str]) -> bool:
        """Not where another process has removed it while this one waited for its turn."""
        try:
            return os.path.samestat(os.fstat(lock.fileno()), (self.folder / LOCK).stat())
        except FileNotFoundError:
            return False


def differing(one: Mapping[str, Any], other: Mapping[str, Any]) -> list[str]:
    """Names of the facts that are not the same, with both values where they are short."""
    here, there = (json.loads(json.dumps(facts)) for facts in (one, other))
    return [
        f"{name} ({_short(here.get(name))} there, {_short(there.get(name))} here)"
        for name in sorted(here.keys() | there.keys())
        if here.get(name) != there.get(name)
    ]


def _short(value: Any) -> str:
    text = value if isinstance(value, str) else json.dumps(value)
    return text if len(text) <= 40 else f"{text[:12]}..."
