from pathlib import Path

from hallo3_lightning.verbs._grid import add_grid

HELP = "list the runs of a grid"

add_arguments = add_grid


def run(grid: Path, root: Path) -> int:
    from hallo3_lightning.ablation.status import status

    return status(grid, root=root)
