"""A run's folder: what it holds and who has it, readable without starting anything heavy."""

import fcntl
import json
import math
import os
import socket
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import IO, Any, ClassVar, Literal, NotRequired, TypedDict

import yaml

from hallo3_lightning.ablation.meaning import ancestor, fingerprint, resolve, results_of
from hallo3_lightning.errors import UsageError
from hallo3_lightning.strict_json import read_json
from hallo3_lightning.strict_yaml import read_strictly

State = Literal["pending", "running", "stopped", "failed", "finished"]

LOCK_PATIENCE_S = 1.0
"""How long a starting run waits for its lock: somebody who only looks at it holds it for an instant."""


@dataclass(frozen=True)
class Status:
    """What is known of a run from its own files.

    state: pending (never started), running (a live process holds its lock), stopped (its process is gone),
    failed (`error` is why), finished. `updated` is in seconds since 1970.
    """

    state: State
    step: int = 0
    max_steps: int = 0
    loss: float | None = None
    samples_per_s: float | None = None
    seconds: float = 0.0
    error: str = ""
    updated: float = 0.0


class Written(TypedDict):
    """A status as its file holds it."""

    state: State
    step: NotRequired[int]
    max_steps: NotRequired[int]
    loss: NotRequired[float | None]
    samples_per_s: NotRequired[float | None]
    seconds: NotRequired[float]
    error: NotRequired[str]
    updated: NotRequired[float]


class Facts(TypedDict, total=False):
    """What is known of a run beside its scores."""

    trainable_parameters: int
    total_parameters: int
    steps: int
    seconds: float


@dataclass(frozen=True)
class RunFolder:
    """config.yaml, provenance.json, status.json, checkpoints/, tensorboard/, samples/, metrics.json, run.log."""

    path: Path

    trains: ClassVar[bool] = True
    """Whether it is a run at all, and not something that runs share or that is made of them."""

    @classmethod
    def create(cls, path: Path, config: Mapping[str, Any]) -> "RunFolder":
        """The folder with its config; one that holds another config is refused with the keys that differ."""
        run = cls(path)
        path.mkdir(parents=True, exist_ok=True)
        if run.config_file.is_file():
            differing = _differing(results_of(run.config()), results_of(config))
            if differing:
                raise UsageError(
                    f"{path} holds a run of another config; differing: {', '.join(differing)}; "
                    "choose another --run.folder or remove that one"
                )
        write_atomically(run.config_file, yaml.safe_dump(dict(config), sort_keys=False))
        return run

    @property
    def label(self) -> str:
        """What to call it where runs are listed."""
        return self.path.name

    @property
    def config_file(self) -> Path:
        return self.path / "config.yaml"

    @property
    def log(self) -> Path:
        """Output of the process that runs it."""
        return self.path / "run.log"

    @property
    def checkpoints(self) -> Path:
        return self.path / "checkpoints"

    @property
    def tensorboard(self) -> Path:
        return self.path / "tensorboard"

    @property
    def samples(self) -> Path:
        return self.path / "samples"

    def config(self) -> dict[str, Any]:
        """The resolved settings. Raises UsageError where the file holds none."""
        found = read_strictly(self.config_file)
        if not isinstance(found, dict):
            raise UsageError(
                f"{self.config_file} holds no settings; expected those of a run, as `hallo3 fit` writes them"
            )
        return found

    def command(self) -> list[str]:
        """The argv of a process that starts it, goes on with it, or finds it finished."""
        return [sys.executable, "-m", "hallo3_lightning.cli", "fit", "--config", str(self.config_file)]

    def metrics(self) -> dict[str, Any] | None:
        """What its test has written; None before that, and where it is damaged: then it is tested again."""
        try:
            return read_json(self.path / "metrics.json", dict[str, Any])
        except (FileNotFoundError, ValueError):
            return None

    def facts(self) -> Facts:
        """Empty before the first start, and where they are damaged."""
        try:
            return read_json(self.path / "facts.json", Facts)
        except (FileNotFoundError, ValueError):
            return {}

    def status(self) -> Status:
        """From the run's own files, and from whether a live process holds its lock."""
        file = self.path / "status.json"
        try:
            status = Status(**read_json(file, Written))
        except FileNotFoundError:
            return Status("running" if self.is_locked() else "pending")
        except (ValueError, TypeError):  # TypeError: a key that no status has
            return Status("failed", error=f"{file} is damaged; remove it, and the run goes on from its checkpoint")
        if status.state == "running" and not self.is_locked():
            return replace(status, state="stopped")
        return status

    def record(self, status: Status) -> None:
        """Write it down, with the time. A loss that is no number is none; the run itself says more of it."""
        loss = status.loss if status.loss is not None and math.isfinite(status.loss) else None
        write_atomically(self.path / "status.json", json.dumps(asdict(replace(status, loss=loss, updated=time.time()))))

    def record_facts(self, **facts: Any) -> None:
        write_atomically(self.path / "facts.json", json.dumps(self.facts() | facts, indent=1))

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Hold the run's lock; the system frees it when the process ends, however it ends.

        Raises UsageError when another process holds it.
        """
        self.path.mkdir(parents=True, exist_ok=True)
        with (self.path / ".lock").open("a") as file:
            if not _locks(file, LOCK_PATIENCE_S):
                raise UsageError(f"{self.path} is being run by another process; wait for it or stop it")
            file.truncate(0)
            file.write(_whereabouts())
            file.flush()
            _held.add(file)
            try:
                yield
            finally:
                _held.discard(file)

    def where(self) -> str:
        """The machine and the process that run it or have run it last, as in "node7 pid 123"; "" before the first start."""
        path = self.path / ".lock"
        return path.read_text(errors="replace") if path.is_file() else ""

    def is_locked(self) -> bool:
        path = self.path / ".lock"
        if not path.is_file():
            return False
        with path.open() as file:
            return not _locks(file, patience_s=0)


def ancestor_run(config: Mapping[str, Any]) -> RunFolder | None:
    """The run that this one starts from, whether or not it was ever started."""
    layers = ancestor(config)
    if layers is None:
        return None
    return named(resolve(layers, {"run.root": config["run"]["ancestors"]}))


def named(config: Mapping[str, Any], root: str | Path | None = None, name: str | None = None) -> RunFolder:
    """The folder root/<name>-seed<k>-<fingerprint>: the same config always finds the same one."""
    settings = config["run"]
    if settings["folder"]:
        return RunFolder(Path(settings["folder"]))
    stem = name or settings["name"] or config["phase"]
    return RunFolder(Path(root or settings["root"]) / f"{stem}-seed{config['seed_everything']}-{fingerprint(config)}")


def write_atomically(path: Path, contents: str | bytes) -> None:
    """Whole or not at all, also after a crash; where that fails, nothing is left beside it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    aside = path.with_name(f"{path.name}.{os.getpid()}.tmp")
    try:
        with aside.open("wb") as file:
            file.write(contents.encode() if isinstance(contents, str) else contents)
            file.flush()
            os.fsync(file.fileno())
        aside.replace(path)
    except OSError as error:
        with suppress(OSError):
            aside.unlink(missing_ok=True)
        raise OSError(error.errno, error.strerror, str(path)) from None  # a full disk names no file


_held: set[IO[str]] = set()
"""The locks of this process: it alone holds them."""


def _whereabouts() -> str:
    """This machine, this process, and the job on SLURM that it is of."""
    array = os.environ.get("SLURM_ARRAY_JOB_ID")
    job = f"{array}_{os.environ['SLURM_ARRAY_TASK_ID']}" if array else os.environ.get("SLURM_JOB_ID")
    return f"{socket.gethostname()} pid {os.getpid()}{f' job {job}' if job else ''}"


def _let_go() -> None:
    """A process that was forked, such as one that reads data, must not keep a lock when its parent is killed."""
    for file in _held:
        file.close()
    _held.clear()


os.register_at_fork(after_in_child=_let_go)


def _locks(file: IO[str], patience_s: float) -> bool:
    """Whether the lock of an open file could be had in that time."""
    deadline = time.monotonic() + patience_s
    while True:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() >= deadline:
                return False
            time.sleep(0.05)
        else:
            return True


def _differing(one: Mapping[str, Any], other: Mapping[str, Any]) -> list[str]:
    return sorted(k for k in one.keys() | other.keys() if one.get(k) != other.get(k))
