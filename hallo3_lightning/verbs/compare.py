import argparse
from pathlib import Path

from hallo3_lightning.verbs._grid import add_grid

HELP = "one table, one picture and one JSON of a grid's arms"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_grid(parser)
    parser.add_argument("--out", type=Path, default=None, help="folder for the files (the grid's folder)")


def run(grid: Path, root: Path, out: Path | None) -> int:
    from hallo3_lightning.ablation.compare import compare

    return compare(grid, root=root, out=out)
