"""`hallo3 describe`: what a config would build and what it would cost, as tables and JSON."""

import argparse
import json
import sys
from collections.abc import Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from hallo3_lightning.ablation.grid import is_grid
from hallo3_lightning.cost import figures_of
from hallo3_lightning.errors import UsageError
from hallo3_lightning.training.command_line import ConfigOnly


def describe(arguments: Sequence[str]) -> int:
    """`hallo3 describe --config FILE [--json FILE] [any setting of hallo3 fit]`."""
    parser = argparse.ArgumentParser(
        prog="hallo3 describe",
        usage="%(prog)s --config FILE [--config LAYER ...] [--json FILE] [any setting of hallo3 fit]",
        description=(__doc__ or "").splitlines()[0],
        epilog="Takes every setting of `hallo3 fit` (`hallo3 fit --help` lists them), and reads no data.",
    )
    parser.add_argument("--json", type=Path, help="write the figures there")
    given, settings = parser.parse_known_args(list(arguments))
    figures = figures_of(_resolved(settings))
    console = Console(file=sys.stdout)
    for table in (_parameter_table(figures), _operation_table(figures), _memory_table(figures)):
        console.print(table)
    if given.json is not None:
        _write(figures, given.json)
    return 0


def _resolved(settings: Sequence[str]) -> Mapping[str, Any]:
    _refuse_grids(settings)
    try:
        return ConfigOnly(["fit", *settings]).settings
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
    today, by_ranks = figures["memory_bytes_today"], figures["memory_bytes"]
    unit, size = _unit(sum(by_ranks["1"].values()), {"GiB": 2**30, "MiB": 2**20, "KiB": 2**10})
    table = Table(
        *("ranks", *by_ranks["1"], "total"),
        title=f"Memory of training, estimated ({unit} a rank, {figures['clips_per_rank']} clips a rank)",
        caption="today: one process holds everything and keeps all activations; the other rows are what it would take "
        "once the phases are sharded over the ranks and blocks recomputed, which they are not yet (issue: multi-GPU "
        "training); the frozen encoders not counted",
    )
    for ranks, found in {"today": today, **by_ranks}.items():
        table.add_row(ranks, *(f"{value / size:,.1f}" for value in [*found.values(), sum(found.values())]))
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
