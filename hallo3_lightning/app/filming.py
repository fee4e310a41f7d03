"""One film being made by a `hallo3 animate` of its own: how far it is, how it ended, and stopping it.

A process of its own can be stopped at any moment and gives all its memory back; the same command goes on with its film.
"""

import hashlib
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import IO

from safetensors import SafetensorError, safe_open

from hallo3_lightning.app.progress import GrowingFrames, Remaining
from hallo3_lightning.film.unfinished import ABOUT, STATE, Unfinished

WIDE = {"COLUMNS": "10000"}
"""What it says is shown on a page, which breaks lines itself."""


class Filming:
    """Starts when it is made.

    Args:
        arguments: what one types after `hallo3 animate`, without --out.
        out: the film.
    """

    def __init__(self, arguments: Sequence[str], out: Path) -> None:
        self.out, self.was_stopped = out, False
        self._growing, self._remaining = GrowingFrames(out), Remaining(time.monotonic(), self.frames)
        # not pipes: nobody reads while it runs, and a full pipe would stop it
        self._said, self._complained = tempfile.TemporaryFile(), tempfile.TemporaryFile()  # noqa: SIM115
        self._process = subprocess.Popen(
            [sys.executable, "-m", "hallo3_lightning.cli", "animate", *arguments, f"--out={out}"],
            stdin=subprocess.DEVNULL,
            stdout=self._said,
            stderr=self._complained,
            env={**os.environ, **WIDE},
        )

    @property
    def goes_on(self) -> bool:
        return self._process.poll() is None

    @property
    def is_finished(self) -> bool:
        return self._process.poll() == 0

    @property
    def frames(self) -> int:
        """Of the windows that are finished, while the film is made: what a stopped one begins behind."""
        try:
            with safe_open(Unfinished(self.out).folder / STATE, framework="np") as file:
                return json.loads(file.metadata()[ABOUT])["place"]["frames"]
        except (FileNotFoundError, SafetensorError):  # not begun, or just finished
            return 0

    @property
    def frames_so_far(self) -> int:
        """Also of a window that is not finished."""
        return max(self._growing.count(), self.frames)

    def left_s(self, total: int) -> float | None:
        """Seconds until it has so many frames; None before that can be told."""
        return self._remaining.left_s(time.monotonic(), self.frames, total)

    @property
    def told(self) -> str:
        """Everything that it said so far, notes first."""
        return "\n".join(part for file in (self._complained, self._said) if (part := _text(file)))

    @property
    def complaint(self) -> str:
        """The one sentence that it ended with, or the last of a traceback."""
        last = _text(self._complained).rpartition("\n")[2]
        return last.partition("error: ")[2] or f"ended with status {self._process.poll()}: {last}"

    def stop(self) -> None:
        """At once: a film may be killed at any moment."""
        self.was_stopped = self.was_stopped or self.goes_on
        self._process.terminate()
        self._process.wait()


def film_of(folder: Path, label: str, arguments: Sequence[str]) -> Path:
    """Where the film of a request lies: the same request finds its film, finished or to go on with."""
    digest = hashlib.sha256("\0".join(arguments).encode()).hexdigest()[:12]
    return folder / f"{Path(label).name[:80]}-{digest}.mp4"


def _text(file: IO[bytes]) -> str:
    return os.pread(file.fileno(), 1 << 20, 0).decode(errors="replace").strip()
