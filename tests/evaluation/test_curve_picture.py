"""curves.png: names of clips are text."""

from hallo3_lightning.evaluation.curve_picture import draw
from hallo3_lightning.evaluation.told import Told


def test_a_clips_name_is_no_formula(tmp_path):
    told = Told(curves={"$x_{$": {"true": [0.0, 1.0, 0.5], "measured": [0.1, 0.9, 0.4]}})
    draw(tmp_path / "curves.png", "tiny v1", {}, told, None)
    assert (tmp_path / "curves.png").stat().st_size > 5000
