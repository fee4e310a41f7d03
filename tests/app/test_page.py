"""The page as gradio calls it."""

from pathlib import Path

import pytest

from hallo3_lightning.app.candidates import Candidates
from hallo3_lightning.errors import UsageError

gradio = pytest.importorskip("gradio")


class Unfinished(Candidates):
    """A grid of which no run is finished."""

    def grids(self) -> dict[str, Path]:
        return {"grid": Path("grid.yaml")}

    def arms(self, grid: Path) -> list:
        raise UsageError(f"no run of {grid} is finished")


def test_a_grid_without_a_finished_run_is_said_whichever_way_it_is_asked_for(tmp_path):
    from hallo3_lightning.app.page import Page

    page = Page((), Unfinished(tmp_path), tmp_path)
    asked = page._animate(gradio.Request(session_hash="one"), "a.png", "", "a.wav", "", "grid", [])
    for ask in (lambda: page._of_grid("grid"), lambda: next(asked)):
        with pytest.raises(gradio.Error, match="no run of grid.yaml is finished"):
            ask()
