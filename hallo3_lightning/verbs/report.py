import argparse
from pathlib import Path

from hallo3_lightning.verbs._grid import add_grid

HELP = "one page of a grid: verdict, scores, curves, and the clips of all arms side by side with sound"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_grid(parser)
    parser.add_argument(
        "--out", type=Path, default=None, metavar="FILE.html", help="the page (report.html in the grid's folder)"
    )
    parser.add_argument("--clips", type=int, default=4, help="held-out clips on the page, at most (%(default)s)")


def run(grid: Path, root: Path, out: Path | None, clips: int) -> int:
    from hallo3_lightning.ablation.places import check_root
    from hallo3_lightning.ablation.report.write import report

    check_root(root)
    return report(grid, root=root, out=out, clips=clips)
