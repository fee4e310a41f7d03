"""`hallo3 describe`: what a config would build and what it would cost, as tables and JSON."""

import argparse
import json
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict, fields
from itertools import pairwise
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from hallo3_lightning.ablation.page import is_grid
from hallo3_lightning.cost import Operations, figures_of
from hallo3_lightning.errors import UsageError
from hallo3_lightning.sizing import RECOMPUTED, Machine, Plan, plans
from hallo3_lightning.training.settings import settings_of

MACHINE = {
    "peak_tflops": "of one GPU, dense bfloat16 (989.4: H100 SXM)",
    "attained": "share of the peak that training reaches (0.4)",
    "node_gb_s": "GB/s from one GPU to others of its node, one way (450: NVLink 4)",
    "network_gb_s": "GB/s from one GPU to other nodes, one way (50: 400 Gb/s for each GPU)",
    "gpus_per_node": "GPUs of a node (8)",
}
"""Help for what the sizing table takes for granted."""


def describe(arguments: Sequence[str]) -> int:
    """`hallo3 describe --config FILE [--json FILE] [any setting of hallo3 fit]`."""
    parser = argparse.ArgumentParser(
        prog="hallo3 describe",
        usage="%(prog)s --config FILE [--config LAYER ...] [--json FILE] [any setting of hallo3 fit]",
        description=(__doc__ or "").splitlines()[0],
        epilog="Takes every setting of `hallo3 fit` (`hallo3 fit --help` lists them), and reads no data.",
    )
    parser.add_argument("--json", type=Path, help="write the figures there")
    for field in fields(Machine):
        option = f"--{field.name.replace('_', '-')}"
        parser.add_argument(option, type=type(field.default), default=field.default, help=MACHINE[field.name])
    given, settings = parser.parse_known_args(list(arguments))
    config = _resolved(settings)
    figures = figures_of(config)
    machine = Machine(**{field.name: getattr(given, field.name) for field in fields(Machine)})
    passes = {name: Operations(found["dense"], found["attention"]) for name, found in figures["operations"].items()}
    sizing = plans(config, passes, machine)
    figures |= {"machine": asdict(machine), "sizing": [asdict(plan) for plan in sizing]}
    tables = [_parameter_table(figures), _operation_table(figures), _memory_table(figures)]
    console = Console(file=sys.stdout)
    for table in (*tables, _sizing_table(sizing, figures)):
        console.print(table)
    if given.json is not None:
        _write(figures, given.json)
    return 0


def _resolved(settings: Sequence[str]) -> Mapping[str, Any]:
    _refuse_grids(settings)
    try:
        return settings_of(settings)
    except UsageError as error:
        if "is not set" not in str(error) or "--config" not in settings:
            raise
        raise UsageError(
            f"{error}; a file that leaves it out is a layer: name the file that it changes before it, as in "
            "--config experiments/tiny/audio.yaml --config experiments/tiny/audio_long.yaml"
        ) from error


def _refuse_grids(settings: Sequence[str]) -> None:
    """Raise a UsageError for a file of --config that is a grid: it has axes and names its own base."""
    given = [after for option, after in pairwise(settings) if option == "--config"]
    given += [option.partition("=")[2] for option in settings if option.startswith("--config=")]
    for file in filter(is_grid, map(Path, given)):
        raise UsageError(
            f"{file} is a grid of runs, and describe takes the config of one: name its base with --config, and a value "
            f"of each axis as a setting (`hallo3 ablate {file}` runs it)"
        )


def _write(figures: Mapping[str, Any], file: Path) -> None:
    try:
        file.write_text(json.dumps(figures, indent=1))
    except OSError as error:
        raise UsageError(
            f"cannot write --json {file}: {error.strerror}; give a file in a folder that exists and that you may write "
            "to"
        ) from error


def _parameter_table(figures: Mapping[str, Any]) -> Table:
    counts, sequence = figures["parameters"], figures["tokens"]
    caption = f"{sequence['text']} text + {sequence['video']} video tokens = {sequence['sequence']}"
    table = Table("part", "parameters (M)", "trainable (M)", title="Parameters", caption=caption)
    for name, part in counts.items():
        table.add_row(name, _millions(part["total"]), _millions(part["trainable"]))
    table.add_section()
    for name, kept in _sums(figures).items():
        table.add_row(name, *(_millions(sum(counts[part][kind] for part in kept)) for kind in ("total", "trainable")))
    return _right(table)


def _sums(figures: Mapping[str, Any]) -> dict[str, list[str]]:
    """Title of a sum -> the parts in it."""
    everything = list(figures["parameters"])
    return {"denoiser": [part for part in everything if part not in figures["copies"]], "all": everything}


def _operation_table(figures: Mapping[str, Any]) -> Table:
    unit, size = _unit(figures["operations"]["backbone forward"]["total"], {"T": 1e12, "G": 1e9, "M": 1e6})
    table = Table(
        *("of one clip", f"dense ({unit})", f"attention ({unit})", f"total ({unit})"),
        title="Operations (a product and a sum are two)",
        caption="backbone forward by the rule 2 x parameters x tokens + attention: "
        f"{figures['rule_of_thumb'] / size:,.1f}; it counts the weights of adaLN once a token, they act once a clip",
    )
    for name, found in figures["operations"].items():
        table.add_row(name, *(f"{found[kind] / size:,.1f}" for kind in ("dense", "attention", "total")))
    return _right(table)


def _memory_table(figures: Mapping[str, Any]) -> Table:
    found, parallel = figures["memory_bytes"], figures["parallel"]
    unit, size = _unit(sum(found.values()), {"GiB": 2**30, "MiB": 2**20, "KiB": 2**10})
    table = Table(
        *("ranks that share a copy", *found, "total"),
        title=f"Memory of training, estimated ({unit} a rank, {figures['clips_per_rank']} clips a rank)",
        caption=f"as configured: parallel.shard {parallel['shard']}, parallel.recompute {parallel['recompute']}; the frozen "
        "encoders not counted",
    )
    row = [*found.values(), sum(found.values())]
    table.add_row(str(parallel["shard"]), *(f"{value / size:,.1f}" for value in row))
    return _right(table)


def _sizing_table(sizing: Sequence[Plan], figures: Mapping[str, Any]) -> Table:
    """Memory, and communication against compute, by number of GPUs and the way to shard."""
    machine, parallel = figures["machine"], figures["parallel"]
    unit, size = _unit(sizing[0].state, {"GiB": 2**30, "MiB": 2**20, "KiB": 2**10})
    computing = ", ".join(f"{sizing[0].compute_s[name]:.3g} s with {name}" for name in RECOMPUTED)
    table = Table(
        *("GPUs", "shard x replicate", *(f"{name} ({unit})" for name in RECOMPUTED), "moved (GB)"),
        "moving (s)",
        title=f"8 to 64 GPUs: memory of a rank by parallel.recompute, and a step of {figures['clips_per_rank']} clips a rank",
        caption=f"taken for granted: {machine['peak_tflops']:g} TFLOP/s, of which {machine['attained']:.0%} is reached; "
        f"{machine['node_gb_s']:g} GB/s in a node of {machine['gpus_per_node']}, {machine['network_gb_s']:g} GB/s between nodes, "
        f"one way, of each GPU; parameters gathered in {parallel['gather']}, gradients summed in {parallel['reduce']}. "
        f"Computing takes {computing}; moving hides behind it where it is shorter. shard 1 is DDP; frozen encoders are not counted",
    )
    for plan in sizing:
        memory = (plan.state + plan.gathered + plan.activations[name] for name in RECOMPUTED)
        moved = plan.moved.gathered + plan.moved.scattered + plan.moved.reduced
        table.add_row(
            str(plan.shard * plan.replicate),
            f"{plan.shard} x {plan.replicate}",
            *(f"{value / size:,.1f}" for value in memory),
            f"{moved / 1e9:,.2f}",
            f"{plan.communication_s:.3g}",
        )
    return _right(table)


def _unit(value: float, units: Mapping[str, float]) -> tuple[str, float]:
    """The largest unit of which there is at least one; the smallest where there is none."""
    return next(((name, size) for name, size in units.items() if value >= size), list(units.items())[-1])


def _millions(count: int) -> str:
    return f"{count / 1e6:,.3f}"


def _right(table: Table) -> Table:
    """Numbers to the right."""
    for column in table.columns[1:]:
        column.justify = "right"
    return table
