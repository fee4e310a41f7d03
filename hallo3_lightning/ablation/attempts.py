"""How often a run was begun without coming to its end, and where it was begun last: attempts.json in its folder.

A launcher may be killed at any moment, so what became of the last attempt is judged by whoever looks next, from what the
run itself has left behind.
"""

import json
import os
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import NotRequired, TypedDict

from hallo3_lightning.ablation import runs
from hallo3_lightning.ablation.runs import RunFolder, Status, write_atomically
from hallo3_lightning.strict_json import read_json

FILE = "attempts.json"
RETRIES = 2
"""How often a run that failed is tried again where nobody says how often."""


@dataclass(frozen=True)
class Start:
    """When an attempt began, in seconds since 1970; and which task of which array it is on SLURM, if it is one.

    An array is known by its name, which is chosen before it is submitted: a launcher that dies in between leaves no job
    behind that nobody knows of.
    """

    at: float
    array: str = ""
    task: int = 0


@dataclass(frozen=True)
class Attempts:
    """`failed` attempts that had no good end, the `error` of the last of them, and the one that is `open`."""

    failed: int = 0
    error: str = ""
    open: Start | None = None


class WrittenStart(TypedDict):
    """A start as its file holds it."""

    at: float
    array: NotRequired[str]
    task: NotRequired[int]


class Written(TypedDict):
    """Attempts as their file holds them."""

    failed: int
    error: str
    open: WrittenStart | None


def read(run: RunFolder) -> Attempts:
    """What is written down; nothing where nobody has, or where it cannot be read."""
    try:
        written = read_json(run.path / FILE, Written)
        return Attempts(written["failed"], written["error"], Start(**written["open"]) if written["open"] else None)
    except (FileNotFoundError, ValueError, TypeError):  # TypeError: a key that no start has
        return Attempts()


def begin(run: RunFolder, start: Start) -> None:
    """Write down an attempt before it begins; the one before it, if nobody saw its end, is judged now."""
    _write(run, replace(judged(run), open=start))


def end(run: RunFolder, error: str | None) -> None:
    """Write down how the open attempt ended: failed with an error, or None for finished or told to stop.

    Where nothing is open, another launcher has seen its end before.
    """
    now = read(run)
    if now.open is not None:
        _write(run, Attempts(now.failed) if error is None else Attempts(now.failed + 1, error))


def settle(run: RunFolder) -> Attempts:
    """Write down how the attempt of somebody who is gone has ended, and give what is known now."""
    now = judged(run)
    _write(run, now)
    return now


def judged(run: RunFolder) -> Attempts:
    """The attempts of a run that is not running: an open one counts as failed if the run said something, and was not
    told to stop."""
    now = read(run)
    if now.open is None:
        return now
    status = run.status()
    spoke = _written_at(run.log) >= now.open.at or status.updated >= now.open.at
    if status.state == "finished" or not spoke or was_told_to_stop(run, status):
        return Attempts(now.failed)
    last = last_line(run.log)
    vanished = f"it ended without saying why{f', after: {last}' if last else ''}"
    return Attempts(now.failed + 1, (status.error if status.state == "failed" else "") or vanished)


def was_told_to_stop(run: RunFolder, status: Status) -> bool:
    """Whether a run that is not running has put itself down; one that was killed still calls itself running."""
    try:
        said = read_json(run.path / "status.json", runs.Written)["state"]
    except (FileNotFoundError, ValueError):
        return False
    return bool(status.state == "stopped" and said == "stopped")


def refusal(run: RunFolder, retries: int) -> str | None:
    """Why a run that is not running is not begun again: it has failed more often than it may be tried again."""
    now = judged(run)
    if now.failed <= retries:
        return None
    times = "once" if now.failed == 1 else f"{now.failed} times"
    return f"it has failed {times}, at last with: {now.error}; mend it, and `--retries {now.failed}` tries again"


def last_line(log: Path) -> str:
    """The last line that says something, of the last 64 KiB of a log."""
    if not log.is_file():
        return ""
    with log.open("rb") as file:
        file.seek(max(0, file.seek(0, os.SEEK_END) - 2**16))
        lines = file.read().decode(errors="replace").splitlines()
    return next((line.strip() for line in reversed(lines) if line.strip()), "")


def _written_at(log: Path) -> float:
    return log.stat().st_mtime if log.is_file() else 0.0


def _write(run: RunFolder, attempts: Attempts) -> None:
    write_atomically(run.path / FILE, json.dumps(asdict(attempts)))
