"""What every verb takes that is about a grid."""

import argparse
from pathlib import Path


def add_grid(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("grid", type=Path, help="a file in experiments/grids/")
    parser.add_argument("--root", type=Path, default=Path("runs"), help="folder of runs (%(default)s)")
