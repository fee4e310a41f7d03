"""A run and its folder: named by what changes its results, and readable without starting anything heavy."""

import fcntl
import hashlib
import json
import os
import re
import socket
import sys
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import IO, Any, ClassVar, Literal

import yaml

from hallo3_lightning.errors import UsageError
from hallo3_lightning.strict_yaml import read_strictly

State = Literal["pending", "running", "stopped", "failed", "finished"]

TRAINER_KEYS = (
    "max_steps",
    "precision",
    "gradient_clip_val",
    "gradient_clip_algorithm",
    "limit_train_batches",
    "limit_test_batches",
    "overfit_batches",
)
"""Trainer options that change results; logging and validation intervals do not. See also `clips_a_step`."""

PARALLEL_KEYS = ("gather", "reduce", "meta")
"""Of the options of `parallel`, those that change results."""

LOCK_PATIENCE_S = 1.0
"""How long a starting run waits for its lock: somebody who only looks at it holds it for an instant."""

NAMED_CACHE = re.compile("cache-[0-9a-f]{8}")
"""Folders of computed signals that a grid makes."""

DATA_KEYS_ASIDE = ("batch_size", "num_workers", "eval_batch_size", "leading_frames", "strict", "max_bad_fraction")
"""Data options that do not change the results of a run that ends."""


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
        return _read_json(self.path / "metrics.json")

    def facts(self) -> dict[str, Any]:
        """trainable_parameters, total_parameters, steps, seconds; empty before the first start."""
        return _read_json(self.path / "facts.json") or {}

    def status(self) -> Status:
        """From the run's own files, and from whether a live process holds its lock."""
        file = self.path / "status.json"
        try:
            written = _read_json(file)
            status = Status("running" if self.is_locked() else "pending") if written is None else Status(**written)
        except (ValueError, TypeError):
            return Status("failed", error=f"{file} is damaged; remove it, and the run goes on from its checkpoint")
        if status.state == "running" and not self.is_locked():
            return replace(status, state="stopped")
        return status

    def record(self, status: Status) -> None:
        write_atomically(self.path / "status.json", json.dumps(asdict(status) | {"updated": time.time()}))

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
        return path.read_text() if path.is_file() else ""

    def is_locked(self) -> bool:
        path = self.path / ".lock"
        if not path.is_file():
            return False
        with path.open() as file:
            return not _locks(file, patience_s=0)


def resolve(layers: Sequence[str | Path], overrides: Mapping[str, Any]) -> dict[str, Any]:
    """The whole validated config that `hallo3 fit` with these layers, then `--key value ...`, would run.

    A layer is a config file, or a setting as one types it: `--model.motion_frames=4`. Raises UsageError where the command
    line would have refused.
    """
    from hallo3_lightning.training.settings import resolved  # takes seconds, and who only looks at runs never asks

    return resolved(layers, overrides)


def ancestor(config: Mapping[str, Any]) -> list[str] | None:
    """The layers whose run this one starts from: config files, then settings that change them, as one types them.

    None when it starts from a checkpoint or from nothing.
    """
    given = config["model"].get("init_from")
    layers = [given] if isinstance(given, str) else list(given or [])
    files = files_of(layers)
    return layers if files and all(file.endswith((".yaml", ".yml")) for file in files) else None


def files_of(layers: Iterable[str]) -> list[str]:
    """The config files among layers."""
    return [layer for layer in layers if not layer.startswith("--")]


def ancestor_run(config: Mapping[str, Any]) -> RunFolder | None:
    """The run that this one starts from, whether or not it was ever started."""
    layers = ancestor(config)
    if layers is None:
        return None
    return named(resolve(layers, {"run.root": config["run"]["ancestors"]}))


def scores_only(config: Mapping[str, Any]) -> bool:
    """Whether a run trains nothing and scores what it starts from: arms that differ in sampling share one training."""
    starts = bool(config["model"].get("init_from"))
    return config["trainer"]["max_steps"] == 0 and bool(config["run"]["evaluate"]) and starts


def results_of(config: Mapping[str, Any]) -> dict[str, Any]:
    """The part of a config that changes results, flat: "model.audio" -> "adaln"."""
    kept = {
        "phase": config["phase"],
        "seed_everything": config["seed_everything"],
        "model": config["model"],
        "data": {k: v for k, v in config["data"].items() if k not in DATA_KEYS_ASIDE},
        "trainer": {k: config["trainer"].get(k) for k in TRAINER_KEYS},
        "clips_a_step": clips_a_step(config),
        "parallel": {k: v for k, v in (config.get("parallel") or {}).items() if k in PARALLEL_KEYS},
    }
    return flat(kept)


def clips_a_step(config: Mapping[str, Any]) -> int:
    """Clips of an optimizer step, of all ranks together: how many ranks share them does not change results.

    Where the number of devices is left to the machine ("auto"), it counts as 1.
    """
    parallel, trainer = config.get("parallel") or {}, config["trainer"]
    devices, nodes = trainer.get("devices"), trainer.get("num_nodes") or 1
    ranks = parallel.get("shard", 1) * parallel.get("replicate", 1)
    if ranks == 1 and str(devices).isdigit():
        ranks = int(str(devices)) * nodes
    return config["data"]["batch_size"] * (trainer.get("accumulate_grad_batches") or 1) * ranks


def fingerprint(config: Mapping[str, Any]) -> str:
    """8 hexadecimal digits of what changes results.

    An ancestor counts by its own fingerprint and not by its file's name; so do shards that say theirs: other data at the
    same place make another run, and the same data at another place do not. A cache that a grid made counts by its name.
    """
    results = meaning_of(config)
    layers = ancestor(config)
    if layers is not None:
        results["model.init_from"] = fingerprint(resolve(layers, {}))
    return hashlib.sha256(json.dumps(results, sort_keys=True, default=str).encode()).hexdigest()[:8]


def meaning_of(config: Mapping[str, Any]) -> dict[str, Any]:
    """What of a config changes results, with data by what they are and not by where; without what it starts from where
    that is another run."""
    results = results_of(config)
    results["data.shards"] = data_of(config["data"]["shards"])
    if config["data"].get("mixture"):
        sources = config["data"]["mixture"]
        results["data.mixture"] = [{**source, "shards": data_of(source["shards"])} for source in sources]
    if config["data"].get("cache"):
        results["data.cache"] = [_cache_of(folder) for folder in config["data"]["cache"]]
    if ancestor(config) is not None:
        results = {k: v for k, v in results.items() if not k.startswith("model.init_from")}
    return results


def data_of(shards: str) -> str:
    """The fingerprint of shards that say theirs, else their place."""
    try:
        described: Any = _read_json(Path(shards) / "dataset.json")
    except ValueError:  # another's file
        return shards
    says = described.get("fingerprint") if isinstance(described, dict) else None
    return says if isinstance(says, str) else shards


def _cache_of(folder: str) -> str:
    """The name of a cache that is named by what made it, else its place."""
    return Path(folder).name if NAMED_CACHE.fullmatch(Path(folder).name) else folder


def named(config: Mapping[str, Any], root: str | Path | None = None, name: str | None = None) -> RunFolder:
    """The folder root/<name>-seed<k>-<fingerprint>: the same config always finds the same one."""
    settings = config["run"]
    if settings["folder"]:
        return RunFolder(Path(settings["folder"]))
    stem = name or settings["name"] or config["phase"]
    return RunFolder(Path(root or settings["root"]) / f"{stem}-seed{config['seed_everything']}-{fingerprint(config)}")


def flat(tree: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested mappings as dotted keys."""
    leaves: dict[str, Any] = {}
    for key, value in tree.items():
        if isinstance(value, Mapping) and value:
            leaves |= flat(value, f"{prefix}{key}.")
        else:
            leaves[f"{prefix}{key}"] = value
    return leaves


def write_atomically(path: Path, text: str) -> None:
    """Whole or not at all, also after a crash."""
    path.parent.mkdir(parents=True, exist_ok=True)
    aside = path.with_name(f"{path.name}.{os.getpid()}.tmp")
    with aside.open("w") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    aside.replace(path)


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


def _read_json(path: Path) -> dict[str, Any] | None:
    return json.loads(path.read_text()) if path.is_file() else None


def _differing(one: Mapping[str, Any], other: Mapping[str, Any]) -> list[str]:
    return sorted(k for k in one.keys() | other.keys() if one.get(k) != other.get(k))
