"""What changes from frame to frame."""

import numpy as np
import pytest
from rich.console import Console

from datamodules.video.video_file import write_mp4
from hallo3_lightning.evaluation.folders import pair
from hallo3_lightning.evaluation.folders_evaluation import FolderEvaluation
from hallo3_lightning.evaluation.frame_curves import frame_curves
from hallo3_lightning.evaluation.kept import FOLDER, Store
from hallo3_lightning.evaluation.measuring import plan
from hallo3_lightning.evaluation.networks import Networks
from hallo3_lightning.evaluation.recipe import read_recipe
from tests.evaluation.videos import protocol


def test_a_clip_that_brightens_by_two_levels_a_frame(tmp_path):
    for side, frames in (("real", 7), ("fake", 5)):
        (tmp_path / side).mkdir()
        levels = 40 + 2 * np.arange(frames)
        video = np.broadcast_to(levels[:, None, None, None], (frames, 16, 18, 3)).astype(np.uint8)
        write_mp4(tmp_path / side / "a.mp4", video, pixel_format="rgb24")
        write_mp4(tmp_path / side / "b.mp4", video[:4], pixel_format="rgb24")
    recipe = read_recipe(protocol(tmp_path / "p.yaml", "sharpness/laplacian"))
    pairing, networks = pair(tmp_path / "real", tmp_path / "fake"), Networks()
    assert FolderEvaluation(recipe, pairing, networks, tmp_path / "out").run(Console(quiet=True)) is not None
    made = plan(["pixels/levels"], networks, dict.fromkeys(("real", "fake")), recipe.framing)
    found = frame_curves(pairing, Store(tmp_path / "out" / FOLDER), made)
    brighter = found["brighter than the first frame, levels"]
    for side in ("real", "fake"):  # of a pair no more than the shorter one has
        assert brighter[side] == pytest.approx(np.array([[0, 2, 4, 6, 8], [0, 2, 4, 6, np.nan]]), abs=1e-9, nan_ok=True)
        assert found["change from frame to frame, levels"][side][0] == pytest.approx(np.full(4, 2.0))
    assert (tmp_path / "out/curves.png").stat().st_size > 1000
