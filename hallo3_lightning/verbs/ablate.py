import argparse
from typing import Any

from hallo3_lightning.verbs._grid import add_grid

HELP = "run what is not finished of a grid"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_grid(parser)
    parser.add_argument("--parallel", type=int, default=None, help="runs at once (one a core)")
    parser.add_argument("--dry-run", action="store_true", help="say what would run")
    parser.add_argument("--only", nargs="*", default=(), metavar="ARM", help="just these arms")
    parser.add_argument("--seeds", nargs="*", type=int, default=(), help="just these seeds")


def run(**given: Any) -> int:
    from hallo3_lightning.ablation.launch import ablate

    return ablate(**given)
