import argparse
from pathlib import Path

from hallo3_lightning.verbs._grid import add_grid

HELP = "list the runs of a grid"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_grid(parser)
    parser.add_argument("--watch", action="store_true", help="again and again, until all have ended or q is pressed")


def run(grid: Path, root: Path, watch: bool) -> int:
    from hallo3_lightning.ablation.places import check_root
    from hallo3_lightning.ablation.standing import status

    check_root(root)
    return status(grid, root=root, watch=watch)
