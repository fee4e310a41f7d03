import argparse
from pathlib import Path
from typing import Any

from hallo3_lightning.verbs._grid import add_grid

HELP = "one table of a grid's arms: means, differences with intervals and p, and what they say"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_grid(parser)
    parser.add_argument("--out", type=Path, default=None, help="folder for the files (the grid's folder)")
    parser.add_argument("--format", dest="formats", default="md,csv,latex,json", metavar="LIST", help="of the files "
                        "(%(default)s)")  # fmt: skip
    parser.add_argument("--protocol", default=None, metavar="NAME|FILE.yaml", help="compare the runs' evaluations under "
                        "it, as `hallo3 evaluate RUN --protocol` made them (the grid's; else the runs' own test)")  # fmt: skip
    parser.add_argument("--log", action="store_true", help="add a dated entry to experiments/LOG.md")
    parser.add_argument("--draws", type=int, default=199, metavar="N", help="of clips for each difference of FID, FVD "
                        "and their like; 0 leaves those differences out (%(default)s)")  # fmt: skip


def run(**given: Any) -> int:
    from hallo3_lightning.ablation.compare import compare
    from hallo3_lightning.ablation.places import check_root

    check_root(given["root"])
    return compare(**given)
