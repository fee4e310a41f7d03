"""Bytes that a sharded training step moves, counted on two processes, against those that `hallo3 describe` expects; and
what the backward pass of one process holds with and without recomputing.
"""

import argparse
import json
import socket
from dataclasses import asdict
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
import torch.distributed as dist
from rich.console import Console
from rich.table import Table
from sampling import clip, denoiser
from torch import Tensor
from torch.distributed.device_mesh import init_device_mesh
from torch.multiprocessing.reductions import StorageWeakRef
from torch.utils._python_dispatch import TorchDispatchMode

from hallo3_lightning.batch import Batch
from hallo3_lightning.cost import parts
from hallo3_lightning.denoiser import Denoiser
from hallo3_lightning.sizing import moved
from hallo3_lightning.training.parallel import Parallel, placed
from hallo3_lightning.training.per_block import PerBlock
from hallo3_lightning.training.trainable import set_trainable

RANKS = 2
TRAINABLE = {
    "identity": ["*"],
    "audio": ["conditioners.audio_*", "transformer.transformer_blocks.*.adapters.audio_*"],
}
POLICIES = ("none", "attention_kept", "every_2", "full")


class Traffic(TorchDispatchMode):
    """Counts the bytes that this rank receives from others in FSDP's collectives."""

    def __init__(self) -> None:
        super().__init__()
        self.gathered = self.scattered = 0.0

    def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        name = function._schema.name
        if name == "c10d::_allgather_base_":
            self.gathered += args[0].nbytes * (RANKS - 1) / RANKS
        if name == "c10d::_reduce_scatter_base_":
            self.scattered += args[1].nbytes * (RANKS - 1) / RANKS
        return function(*args, **(kwargs or {}))


def network(kind: str, width: int, blocks: int) -> Denoiser:
    made = denoiser(width, blocks).train()
    set_trainable(made, TRAINABLE[kind])
    return made


def step(network: Denoiser, given: Batch) -> Tensor:
    """A loss with everything that a training step computes."""
    assert given.motion_latents is not None
    return network(given.motion_latents, torch.tensor([499]), given).square().mean()


def rank(number: int, port: int, kind: str, width: int, blocks: int, out: str) -> None:
    """One of the processes; the second step is counted, as the first has more to do."""
    torch.set_num_threads(1)
    dist.init_process_group("gloo", f"tcp://127.0.0.1:{port}", rank=number, world_size=RANKS)
    parallel, made = Parallel(shard=RANKS), network(kind, width, blocks)
    expected = moved(parts(made), parallel)
    placed(made, init_device_mesh("cpu", (RANKS,), mesh_dim_names=("shard",)), parallel)
    given = clip(made.transformer.backbone)
    step(made, given).backward()
    with Traffic() as seen:
        step(made, given).backward()
    if number == 0:
        counted = {"gathered": seen.gathered, "scattered": seen.scattered}
        Path(out).write_text(json.dumps({"counted": counted, "expected": asdict(expected)}))
    dist.destroy_process_group()


def traffic(kind: str, width: int, blocks: int) -> dict[str, dict[str, float]]:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        port = found.getsockname()[1]
    with TemporaryDirectory() as folder:
        out = f"{folder}/figures.json"
        torch.multiprocessing.spawn(rank, (port, kind, width, blocks, out), nprocs=RANKS)
        return json.loads(Path(out).read_text())


class Alive(TorchDispatchMode):
    """Knows the memory of all that is made inside, and how much of it is still held."""

    def __init__(self) -> None:
        super().__init__()
        self.made: dict[int, tuple[StorageWeakRef, int]] = {}

    def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        results = function(*args, **(kwargs or {}))
        for result in results if isinstance(results, tuple | list) else (results,):
            if isinstance(result, Tensor):
                storage = result.untyped_storage()
                self.made[storage.data_ptr()] = (StorageWeakRef(storage), storage.nbytes())
        return results

    @property
    def bytes(self) -> int:
        return sum(size for storage, size in self.made.values() if not storage.expired())


def held(policy: str, width: int, blocks: int) -> int:
    """Bytes that lie between the forward and the backward pass of phase 1, for one clip; weights aside."""
    made = network("identity", width, blocks)
    PerBlock(policy, "none").arrange(made)
    given = clip(made.transformer.backbone)
    with Alive() as memory:
        loss = step(made, given)
    between = memory.bytes
    loss.backward()
    return between


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", type=Path, help="write the figures there")
    parser.add_argument("--width", type=int, default=128, help="channels, a multiple of 64 (%(default)s)")
    parser.add_argument("--blocks", type=int, default=4, help="(%(default)s)")
    given = parser.parse_args()
    moves = {kind: traffic(kind, given.width, given.blocks) for kind in TRAINABLE}
    table = Table(
        "phase", "bytes", "counted", "expected", "ratio", title=f"Moved in a step, {RANKS} ranks (MB received)"
    )
    ratios = []
    for kind, figures in moves.items():
        for name, counted in figures["counted"].items():
            expected = figures["expected"][name]
            ratios.append(counted / expected)
            table.add_row(kind, name, f"{counted / 1e6:.3f}", f"{expected / 1e6:.3f}", f"{counted / expected:.3f}")
    kept = {policy: held(policy, given.width, given.blocks) for policy in POLICIES}
    memory = Table("recompute", "MB", "of none", title="Held for the backward pass, one clip, phase identity")
    for policy, size in kept.items():
        memory.add_row(policy, f"{size / 1e6:.2f}", f"{size / kept['none']:.3f}")
    for shown in (table, memory):
        Console().print(shown)
    if given.json is not None:
        given.json.write_text(json.dumps({"ratio": max(ratios), "moved": moves, "held": kept}, indent=1))


if __name__ == "__main__":
    main()
