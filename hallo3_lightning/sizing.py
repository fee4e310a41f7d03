"""How a run would lie on many GPUs: memory of each rank, and bytes between ranks in a step against operations.

Counted for FSDP2 with every parameter sharded, blocks let go of between their forward and their backward pass, and
collectives in rings at the nominal speed of the slowest link among their ranks. A step is one micro-batch.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from hallo3_lightning.cost import Operations, Part, Precision, activation_bytes, network, parts, precision_of
from hallo3_lightning.denoiser import Denoiser
from hallo3_lightning.training.parallel import Parallel
from hallo3_lightning.training.per_block import stacks

GPUS = (8, 16, 32, 64)
RECOMPUTED = ("none", "attention_kept", "full")
BYTES = {"float32": 4, "bfloat16": 2}


@dataclass(frozen=True)
class Machine:
    """What is taken for granted of the machines.

    Args:
        peak_tflops: of one GPU, dense bfloat16; H100 SXM (NVIDIA's data sheet).
        attained: share of the peak that training reaches; 0.38 to 0.43 on such GPUs in arXiv 2407.21783, table 4.
        node_gb_s: from one GPU to the others of its node, one way; NVLink 4 has 900 both ways (the same data sheet).
        network_gb_s: from one GPU to other nodes, one way; a 400 Gb/s port for each GPU (data sheet of DGX H100).
        gpus_per_node: GPUs of a node.
    """

    peak_tflops: float = 989.4
    attained: float = 0.4
    node_gb_s: float = 450.0
    network_gb_s: float = 50.0
    gpus_per_node: int = 8


@dataclass(frozen=True)
class Moved:
    """Bytes that each rank receives in a step."""

    gathered: float
    scattered: float
    reduced: float


@dataclass(frozen=True)
class Plan:
    """One way to lie on the ranks. state, gathered, activations: bytes on each rank; *_s: seconds of a step."""

    shard: int
    replicate: int
    state: float
    gathered: float
    activations: Mapping[str, float]
    moved: Moved
    communication_s: float
    compute_s: Mapping[str, float]


def plans(config: Mapping[str, Any], passes: Mapping[str, Operations], machine: Machine) -> list[Plan]:
    """For each number of GPUs: all of it on each (DDP), sharded in a node and replicated across, sharded over all.

    passes: operations of one clip, as `cost.operations` gives them.
    """
    given, denoiser = Parallel(**config["parallel"]), network(config["model"])
    cost = precision_of(config["trainer"]["precision"])
    found = []
    for gpus in GPUS:
        inside = min(machine.gpus_per_node, gpus)
        for shard in dict.fromkeys((1, inside, gpus)):
            parallel = replace(given, shard=shard, replicate=gpus // shard)
            found.append(plan(denoiser, passes, parallel, config["data"]["batch_size"], machine, cost))
    return found


def plan(
    denoiser: Denoiser,
    passes: Mapping[str, Operations],
    parallel: Parallel,
    clips: int,
    machine: Machine,
    cost: Precision,
) -> Plan:
    """Of one way to shard; weights, gradients, both moments of AdamW and the average are kept in float32."""
    counts = parts(denoiser)
    total, trained = sum(part.total for part in counts.values()), sum(part.trainable for part in counts.values())
    traffic = moved(counts, parallel)
    speed = machine.peak_tflops * machine.attained * 1e12
    return Plan(
        shard=parallel.shard,
        replicate=parallel.replicate,
        state=(cost.weight * total + 16 * trained) / parallel.shard,
        gathered=_gathered(denoiser, parallel),
        activations={recompute: activation_bytes(denoiser, clips, cost, recompute) for recompute in RECOMPUTED},
        moved=traffic,
        communication_s=seconds(traffic, parallel, machine),
        compute_s={recompute: clips * work(passes, recompute) / speed for recompute in RECOMPUTED},
    )


def moved(counts: Mapping[str, Part], parallel: Parallel) -> Moved:
    """Every parameter is gathered for the forward pass, and for the backward pass again where gradients come by.

    They come by all of the backbone and of each conditioner that trains in part, and never by one that is frozen.
    """
    s, r = parallel.shard, parallel.replicate
    passed = {name: part for name, part in counts.items() if part.trainable or _is_between(name)}
    gathered = sum(part.total for part in counts.values()) + sum(part.total for part in passed.values())
    trained = sum(part.trainable for part in counts.values())
    ring, gradient = (s - 1) / s, BYTES[parallel.reduce]
    return Moved(
        gathered=ring * gathered * BYTES[parallel.gather],
        scattered=ring * trained * gradient,
        reduced=2 * (r - 1) / r * trained / s * gradient,
    )


def seconds(traffic: Moved, parallel: Parallel, machine: Machine) -> float:
    """Of communication, if nothing of it hid behind computation. Ranks that share a copy sit next to each other."""
    inside, outside = machine.node_gb_s * 1e9, machine.network_gb_s * 1e9
    sharding = inside if parallel.shard <= machine.gpus_per_node else outside
    replicas = inside if parallel.ranks <= machine.gpus_per_node else outside
    return (traffic.gathered + traffic.scattered) / sharding + traffic.reduced / replicas


def work(passes: Mapping[str, Operations], recompute: str) -> int:
    """Operations of one clip's step with what the blocks compute again: nothing, all but attention, or everything."""
    forward = passes["forward, prepared"]
    again = {"none": 0, "attention_kept": forward.dense, "full": forward.total}[recompute]
    return passes["training step"].total + again


def _gathered(denoiser: Denoiser, parallel: Parallel) -> float:
    """Two blocks at a time are whole: the one that acts, and the next."""
    if parallel.shard == 1:
        return 0.0
    largest = max(
        sum(p.numel() for p in block.parameters()) for blocks in stacks(denoiser).values() for block in blocks
    )
    return 2.0 * largest * BYTES[parallel.gather]


def _is_between(part: str) -> bool:
    """Whether gradients pass it on their way even if it is frozen."""
    return part == "backbone" or part.endswith(" adapters")
