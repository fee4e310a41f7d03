"""TensorBoard on a grid's board, which is brought up to date while runs train; it ends with this process."""

import logging
import time
from pathlib import Path

from rich.console import Console

from hallo3_lightning.ablation.board import write_board
from hallo3_lightning.ablation.grid import Grid, read
from hallo3_lightning.ablation.places import ROOT, command, places
from hallo3_lightning.ablation.status import counted
from hallo3_lightning.errors import UsageError

REFRESH_S = 5.0
"""Between two looks at the runs."""

DEFAULT_PORT = 6006


def board(
    grid: Path, *, root: Path = ROOT, port: int | None = None, host: str = "localhost", serve: bool = True
) -> int:
    """Write the board; with `serve`, show it until Ctrl-C. port: default 6006 or, where that is taken, the next free one.

    Raises UsageError where no run of the grid was launched, or a port that was asked for is taken.
    """
    if port is not None and not 0 <= port < 2**16:
        raise UsageError(f"--port is {port}; expected 0 (any free one) to 65535")
    ways, console = read(grid), Console()
    if not any(place.folder is not None and place.folder.path.is_dir() for place in places(ways, root)):
        raise UsageError(f"no run of {grid} was launched yet; `{command('ablate', grid, root)}` does it")
    folder = write_board(ways, root)
    console.print(f"{_states(ways, root)}: {folder}", soft_wrap=True, highlight=False, markup=False)
    if serve:
        url = start(folder, port, host)
        console.print(f"TensorBoard: {url}  (#hparams, #custom_scalars, #images; Ctrl-C ends it)", soft_wrap=True)
        _keep_fresh(ways, root)
    return 0


def start(folder: Path, port: int | None, host: str) -> str:
    """Start TensorBoard on the folder in a thread of this process; the address of its page.

    It reads all files of a run for ever: with its defaults one that was opened before another would be followed no more.
    """
    from tensorboard import default, program

    logging.getLogger("tensorboard").setLevel(logging.ERROR)
    server = program.TensorBoard(default.get_plugins())
    try:
        server.configure(
            logdir=str(folder),
            host=host,
            port=port,
            load_fast="false",
            reload_multifile=True,
            reload_multifile_inactive_secs=-1,
            reload_interval=REFRESH_S / 2,
        )
        return server.launch()
    except program.TensorBoardServerException as error:
        free = "leave --port out for the next free one" if port else "give a free one with --port"
        raise UsageError(f"TensorBoard cannot serve {host}: {str(error).rstrip('. ')}; {free}") from None


def _keep_fresh(grid: Grid, root: Path) -> None:
    try:
        while True:
            time.sleep(REFRESH_S)
            write_board(grid, root)
    except KeyboardInterrupt:
        pass


def _states(grid: Grid, root: Path) -> str:
    """How many runs are in which state."""
    return counted(place.folder.status() for place in places(grid, root) if place.folder is not None)
