"""FSDP2: how a denoiser lies on many ranks. All use of Lightning's ModelParallelStrategy and of fully_shard is here."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any, Literal

import torch
from lightning import Trainer
from lightning.pytorch.strategies import DDPStrategy, ModelParallelStrategy
from torch import Tensor, nn
from torch.distributed.device_mesh import DeviceMesh, init_device_mesh
from torch.distributed.fsdp import (
    MixedPrecisionPolicy,
    fully_shard,
    register_fsdp_forward_method,
)
from torch.distributed.tensor import DTensor
from torch.nn.parallel import DistributedDataParallel

from hallo3_lightning.denoiser import Denoiser
from hallo3_lightning.errors import UsageError
from hallo3_lightning.training.blank import fill
from hallo3_lightning.training.checkpoints import read_into, taken_apart
from hallo3_lightning.training.per_block import Compiler, stacks
from hallo3_lightning.training.writing import Writer

Precision = Literal["float32", "bfloat16"]


@dataclass(frozen=True)
class Parallel:
    """How a run is spread over processes, and what it spends to save memory.

    Its results are the same without, but for `gather`, `reduce` and `meta`, which count in a run's fingerprint.

    Args:
        shard: ranks that share one copy of parameters, gradients and optimizer state (FSDP2); 1 with replicate 1 leaves
            spreading to trainer.strategy.
        replicate: such copies; shard x replicate is the number of all ranks (HSDP: shard in a node, replicate across).
        gather: precision in which blocks gather their parameters, and compute. Kept are float32 ones.
        reduce: precision in which gradients are summed over ranks.
        recompute: what the backward pass computes again: none, full (all but the input of each block), every_<k> (as
            full, of every k-th block) or attention_kept (all but the input and the attention of each block).
        compile: compiler of each block.
        meta: build the network without numbers and fill it in block by block: no rank ever holds a whole one.
        timeout_s: seconds after which a rank that waits for another gives up.
    """

    shard: int = 1
    replicate: int = 1
    gather: Precision = "float32"
    reduce: Precision = "float32"
    recompute: str = "none"
    compile: Compiler = "none"
    meta: bool = False
    timeout_s: float = 600.0

    def __post_init__(self) -> None:
        for name in ("shard", "replicate", "timeout_s"):
            if getattr(self, name) <= 0:
                raise UsageError(f"parallel.{name} is {getattr(self, name)}; it must be more than 0")

    @property
    def ranks(self) -> int:
        return self.shard * self.replicate

    def refuse_other_world(self, nodes: int, devices: int) -> None:
        """Raise a UsageError unless these are as many ranks, or spreading is left to trainer.strategy."""
        if self.ranks not in (1, nodes * devices):
            raise UsageError(
                f"parallel.shard {self.shard} x parallel.replicate {self.replicate} makes {self.ranks} ranks, but "
                f"trainer.num_nodes {nodes} x trainer.devices {devices} gives {nodes * devices}; make them equal"
            )


class Sharded(ModelParallelStrategy):
    """Each rank keeps one part of every parameter, gradient and optimizer state; a block is whole only while it acts.

    Source: FSDP, arXiv 2304.11277; with `replicate`, its hybrid form.
    """

    def __init__(self, parallel: Parallel, saves_in_background: bool = False) -> None:
        super().__init__(
            data_parallel_size=parallel.ranks,
            tensor_parallel_size=1,
            timeout=timedelta(seconds=parallel.timeout_s),
        )
        self.parallel = parallel
        self.writer = Writer(alone=False, asynchronous=saves_in_background)

    @property
    def distributed_sampler_kwargs(self) -> dict[str, Any]:
        """Every rank reads other data."""
        return {"num_replicas": self.world_size, "rank": self.global_rank}

    def setup_environment(self) -> None:
        """Ours in place of Lightning's mesh, which has no replicas."""
        self._setup_distributed()
        self._device_mesh = self._mesh()
        assert self.lightning_module is not None
        self.lightning_module._device_mesh = self._device_mesh

    def setup(self, trainer: Trainer) -> None:
        """After `configure_model`: what trains lies on the ranks, or its gradients would never meet."""
        assert self.model is not None
        refuse_unsharded(self.model)
        super().setup(trainer)

    def save_checkpoint(self, checkpoint: dict[str, Any], filepath: Any, storage_options: Any = None) -> None:
        """Each rank its part, in our folders: Lightning's are overwritten file by file, and pickled."""
        self.writer.save(Path(self.broadcast(str(filepath))), *taken_apart(checkpoint))

    def load_checkpoint(self, checkpoint_path: Any, weights_only: bool | None = None) -> dict[str, Any]:
        """What is beside the tensors; those go to where they lie on the ranks, whatever the number that saved them."""
        assert self.model is not None
        return read_into(Path(self.broadcast(str(checkpoint_path))), self.model, self.optimizers)

    def shard(self, denoiser: Denoiser, given: Mapping[str, Tensor], seed: int) -> None:
        """Place a denoiser on the ranks; what is blank in it is filled in, one unit at a time."""
        placed(denoiser, self.device_mesh, self.parallel, given, seed)

    def _configure_launcher(self) -> None:
        """The first moment at which nodes and devices are known, and no process has been started yet."""
        self.parallel.refuse_other_world(self.num_nodes, self.num_processes)
        super()._configure_launcher()

    def _mesh(self) -> DeviceMesh:
        shape, names = (self.parallel.replicate, self.parallel.shard), ("replicate", "shard")
        if self.parallel.replicate == 1:
            shape, names = shape[1:], names[1:]  # type: ignore[assignment]
        return init_device_mesh(self.root_device.type, shape, mesh_dim_names=names)


def strategy_for(parallel: Parallel, asked: Any, precision: Any, saves_in_background: bool = False) -> Any:
    """What trainer.strategy shall be, of which `asked` is set: ours where there is something to shard or replicate.

    Raises UsageError for what cannot be had together.
    """
    if parallel.ranks == 1:
        return DDPStrategy(timeout=timedelta(seconds=parallel.timeout_s)) if asked == "ddp" else asked
    if asked != "auto":
        raise UsageError(
            f"trainer.strategy is set and so are parallel.shard {parallel.shard} x parallel.replicate "
            f"{parallel.replicate}; leave trainer.strategy out, or leave both at 1"
        )
    if str(precision).startswith("16"):
        raise UsageError(
            f"trainer.precision {precision} scales its loss, which shards do not do; take bf16-mixed, or parallel.gather "
            "bfloat16 with 32-true"
        )
    return Sharded(parallel, saves_in_background)


def keep_buffers(module: nn.Module) -> None:
    """Each rank of DDP keeps its own buffers, which are equal by construction.

    It would send all of them from the first rank before every step: the average alone is as large as what trains.
    """
    names = [name for name, _ in module.named_buffers()]
    DistributedDataParallel._set_params_and_buffers_to_ignore_for_model(module, names)


def placed(
    denoiser: Denoiser, mesh: DeviceMesh, parallel: Parallel, given: Mapping[str, Tensor] | None = None, seed: int = 0
) -> None:
    """Shard a denoiser over a mesh of processes, unit by unit; one that is blank is filled as `blank.fill` says."""
    for unit in units(denoiser, parallel):
        fill(denoiser, unit.module, given or {}, seed)
        # always resharded: else a root stays whole after validation, and what is not sharded is not averaged
        fully_shard(unit.module, mesh=mesh, mp_policy=unit.precision, reshard_after_forward=True)
        for name in unit.entries:
            register_fsdp_forward_method(unit.module, name)


@dataclass(frozen=True)
class Unit:
    """A module whose parameters are gathered together, and its entries beside `forward` that need them gathered."""

    module: nn.Module
    entries: tuple[str, ...]
    precision: MixedPrecisionPolicy


def units(denoiser: Denoiser, parallel: Parallel) -> Iterator[Unit]:
    """What is gathered together, inner units before outer ones: each block, each conditioner, the backbone's rest.

    The denoiser owns nothing itself, but must be the first to be called: what is called first takes itself for the
    root. Blocks compute in the precision they gather in; what surrounds them is small and stays in float32, as do the
    embeddings that the residual stream begins with.
    """
    exact = MixedPrecisionPolicy(reduce_dtype=_dtype(parallel.reduce))
    inside = MixedPrecisionPolicy(_dtype(parallel.gather), _dtype(parallel.reduce))
    last = MixedPrecisionPolicy(_dtype(parallel.gather), _dtype(parallel.reduce), output_dtype=torch.float32)
    for blocks in stacks(denoiser).values():
        for block in blocks:
            yield Unit(block, ("prepare", "attention_input"), last if block is blocks[-1] else inside)
    for conditioner in denoiser.conditioners.values():
        yield Unit(conditioner, ("encode",), exact)
    yield Unit(denoiser.transformer, (), exact)
    yield Unit(denoiser, ("branch_signals", "prepared"), exact)


def refuse_unsharded(module: nn.Module) -> None:
    """Raise a UsageError that names a parameter that trains and is on no shard: every rank would train its own."""
    for name, parameter in module.named_parameters():
        if parameter.requires_grad and not isinstance(parameter, DTensor):
            raise UsageError(
                f"{name} trains but belongs to no part of the denoiser that is sharded, so that its gradients would "
                "differ on every rank; put it into a conditioner, an adapter or a block, or freeze it (model.trainable)"
            )


def _dtype(name: Precision) -> torch.dtype | None:
    """None leaves float32 as it is."""
    return None if name == "float32" else getattr(torch, name)
