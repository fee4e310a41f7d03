import argparse
from pathlib import Path

from hallo3_lightning.verbs._grid import add_grid

HELP = "TensorBoard of a grid: every arm and seed, settings and results, curves over each other, the same clips"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_grid(parser)
    parser.add_argument("--port", type=int, default=None, help="(6006, or the next one that is free)")
    parser.add_argument("--host", default="localhost", help="whom to serve; 0.0.0.0 is everybody (%(default)s)")
    parser.add_argument("--no-serve", action="store_true", help="write the folder for a TensorBoard of your own")


def run(grid: Path, root: Path, port: int | None, host: str, no_serve: bool) -> int:
    from hallo3_lightning.ablation.board_server import board
    from hallo3_lightning.ablation.places import check_root

    check_root(root)
    return board(grid, root=root, port=port, host=host, serve=not no_serve)
