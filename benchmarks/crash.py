"""Kill training at random instants and go on: is the end the same, bit for bit?

Every process of a run gets SIGKILL at an instant drawn from a seed: anywhere in it, and within the saving of a
checkpoint. The same command then goes on, and the hash of everything in its last checkpoint (weights, optimizer, moving
average) is held against that of a run that nobody touched. Processes are forked from this one, which has imported
everything; what they run is `hallo3 fit`.
"""

import argparse
import hashlib
import json
import os
import random
import shutil
import signal
import socket
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console
from rich.progress import track
from rich.table import Table

from datamodules.synthetic.autoencoder import fit_autoencoder
from datamodules.synthetic.write import synthesize
from hallo3_lightning.cli import main as hallo3
from hallo3_lightning.training import command_line  # noqa: F401  (imported once for all the processes forked from here)
from hallo3_lightning.training.checkpoints import newest, tensors_of

CONFIG = Path(__file__).parents[1] / "experiments/tiny/identity.yaml"
SMALL = [
    "--model.backbone.width=32",
    "--model.backbone.heads=2",
    "--model.backbone.blocks=2",
    "--model.sampling.steps=1",
    "--data.batch_size=4",
    "--data.clip_frames=17",
    "--data.eval_batch_size=2",
    "--trainer.log_every_n_steps=1",
    "--trainer.limit_val_batches=0",
    "--run.sample_every=0",
    "--data.num_workers=2",
]


@dataclass(frozen=True)
class Training:
    """One run in a folder of its own, by some number of ranks."""

    folder: Path
    shards: Path
    ranks: int
    steps: int

    @property
    def checkpoints(self) -> Path:
        return self.folder / "checkpoints"

    def start(self) -> list[int]:
        """Process ids of its ranks, each the leader of a group that holds its data workers too."""
        port = _free_port()
        return [self._forked(rank, port) for rank in range(self.ranks)]

    def _forked(self, rank: int, port: int) -> int:
        if (child := os.fork()) > 0:
            return child
        os.setsid()
        silence = os.open(self.folder.with_suffix(f".{rank}.log"), os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        os.dup2(silence, 1), os.dup2(silence, 2)
        if self.ranks > 1:  # as torchrun says it
            os.environ |= {"RANK": str(rank), "LOCAL_RANK": str(rank), "GROUP_RANK": "0", "WORLD_SIZE": str(self.ranks)}
            os.environ |= {"LOCAL_WORLD_SIZE": str(self.ranks), "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
            os.environ |= {"TORCHELASTIC_RUN_ID": "crash"}
        status = 1
        try:
            status = hallo3(self._command())
        finally:
            sys.stdout.flush()
            os._exit(status)

    def _command(self) -> list[str]:
        ranks = [f"--parallel.shard={self.ranks}", f"--trainer.devices={self.ranks}"] if self.ranks > 1 else []
        return [
            *("fit", "--config", str(CONFIG), *SMALL, *ranks),
            f"--data.shards={self.shards}",
            f"--model.encoders.video_folder={self.shards}/autoencoder",
            f"--trainer.max_steps={self.steps}",
            f"--trainer.val_check_interval={self.steps}",
            "--run.checkpoint_every=3",
            f"--run.folder={self.folder}",
        ]

    def finish(self) -> str:
        """Run to the end; the hash of what is in its last checkpoint."""
        for process in self.start():
            _, status = os.waitpid(process, 0)
            if status:
                raise SystemExit(f"a rank ended with status {status}; see {self.folder.with_suffix('.0.log')}")
        last = newest(self.checkpoints)
        assert last is not None
        return hashed(last)


def hashed(checkpoint: Path) -> str:
    """Of every tensor of a checkpoint, whatever the number of ranks that wrote it."""
    digest = hashlib.sha256()
    for name, tensor in sorted(tensors_of(checkpoint).items()):
        digest.update(name.encode() + tensor.contiguous().numpy().tobytes())
    return digest.hexdigest()


def killed(training: Training, moment: Callable[[], bool]) -> bool:
    """Start it and kill all of it when the moment has come; whether it was still running then."""
    processes = training.start()
    while not moment() and all(_runs(process) for process in processes):
        time.sleep(0.001)
    alive = all(_runs(process) for process in processes)
    for process in processes:
        try:
            os.killpg(process, signal.SIGKILL)
        except ProcessLookupError:
            continue
    for process in processes:
        try:
            os.waitpid(process, 0)
        except ChildProcessError:
            continue
    return alive


def anywhere(draws: random.Random, seconds: float) -> Callable[[], bool]:
    """A moment drawn evenly from a run's time."""
    end = time.monotonic() + draws.uniform(0.05, 0.95) * seconds
    return lambda: time.monotonic() >= end


def within_a_save(draws: random.Random, training: Training, saves: int) -> Callable[[], bool]:
    """A moment while one of the run's checkpoints is being written: what is aside has no name yet."""
    wanted, seen = draws.randint(1, saves), set()

    def now() -> bool:
        seen.update(path.name for path in training.checkpoints.glob("*.tmp"))
        return len(seen) >= wanted

    return now


def _runs(process: int) -> bool:
    done, _ = os.waitpid(process, os.WNOHANG) if Path(f"/proc/{process}").exists() else (process, 0)
    return done == 0


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--times", type=int, default=5, help="kills of each kind (%(default)s)")
    parser.add_argument("--ranks", type=int, default=1, help="processes; more than 1 are sharded (%(default)s)")
    parser.add_argument("--steps", type=int, default=12, help="optimizer steps of a run (%(default)s)")
    parser.add_argument("--seed", type=int, default=0, help="of the instants (%(default)s)")
    parser.add_argument("--json", type=Path, help="write the figures there")
    arguments = parser.parse_args()
    draws, identical, tried = random.Random(arguments.seed), {"anywhere": 0, "within a save": 0}, 0
    with tempfile.TemporaryDirectory() as folder:
        shards = synthesize(Path(folder) / "shards", takes=30, held_out=2, workers=1)
        fit_autoencoder(shards, patch=4, channels=16)
        unbroken = Training(Path(folder) / "unbroken", shards, arguments.ranks, arguments.steps)
        begin = time.monotonic()
        wanted, seconds = unbroken.finish(), time.monotonic() - begin
        for number in track(range(2 * arguments.times), "killing and going on"):
            kind = list(identical)[number % 2]
            training = Training(Path(folder) / f"killed-{number}", shards, arguments.ranks, arguments.steps)
            while True:
                tried += 1
                saves = arguments.steps // 3
                moment = anywhere(draws, seconds) if number % 2 == 0 else within_a_save(draws, training, saves)
                if killed(training, moment):
                    break
                shutil.rmtree(training.folder)
            identical[kind] += training.finish() == wanted
    table = Table(
        "SIGKILL", "times", "same end", title=f"{arguments.ranks} ranks, {arguments.steps} steps, {seconds:.1f} s a run"
    )
    for kind, count in identical.items():
        table.add_row(kind, str(arguments.times), str(count))
    Console().print(table)
    if arguments.json:
        figures = {
            "ratio": sum(identical.values()) / (2 * arguments.times),
            "times": 2 * arguments.times,
            "identical": sum(identical.values()),
            "by_kind": identical,
            "started": tried,
        }
        arguments.json.write_text(json.dumps(figures, indent=2))


if __name__ == "__main__":
    main()
