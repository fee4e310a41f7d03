"""Curves of training on the page of a grid: what is drawn of them, and of alarms that not every run rang."""

import numpy as np
import pytest
from finished import finished_grid
from parsed import Parsed

from hallo3_lightning.ablation.grid import read
from hallo3_lightning.ablation.places import places
from hallo3_lightning.ablation.report import training_curves
from hallo3_lightning.ablation.report.write import report


def test_runs_may_ring_different_alarms(tmp_path):
    file, root = finished_grid(tmp_path, seeds=[0])
    for place, alarm in zip(places(read(file), root), ("seams", "lips_off", "seams"), strict=True):
        assert place.folder is not None
        (place.folder.path / "curves.csv").write_text(f"step,name,value\n5,alarm/{alarm},1.5\n")
    report(file, root=root)
    page = Parsed((root / "ways" / "report.html").read_text())
    assert "seams lips off" in page.text
    assert page.text.count("rings , 1.5 past its threshold") == 3


@pytest.mark.parametrize("raw", [b"\xff\xfe\0", b"step,name,value\n1,loss,abc\nx,loss,1\n,,,,\n", b"\0" * 9])
def test_a_damaged_table_has_no_rows(tmp_path, raw):
    (tmp_path / "curves.csv").write_bytes(raw)
    assert training_curves.table(tmp_path / "curves.csv") == {}


def test_a_step_that_was_logged_twice_counts_once(tmp_path):
    file = tmp_path / "curves.csv"
    file.write_text("step,name,value\n5,train/loss,9.0\n5,train/loss,1.0\n3,train/loss,2.0\n7,train/lo")
    assert training_curves.table(file) == {"train/loss": [(3, 2.0), (5, 1.0)]}
    assert training_curves.table(tmp_path / "none.csv") == {}


def test_means_are_over_the_steps_that_seeds_share():
    seeds = [[(0, 1.0), (10, 3.0), (20, 5.0)], [(10, 1.0), (20, 1.0), (30, 7.0)]]
    (line,) = training_curves._mean(2, seeds, smooth=False)
    assert (line.arm, list(line.steps), list(line.values)) == (2, [10, 20], [2.0, 3.0])
    assert training_curves._mean(0, [[(0, 1.0)], [(1, 1.0)]], smooth=False) == []


def test_smoothing_keeps_a_straight_line_and_halves_a_spike():
    assert training_curves._smoothed(np.arange(9.0), 2)[2:-2].tolist() == [2, 3, 4, 5, 6]
    assert training_curves._smoothed(np.array([0, 0, 6.0, 0, 0]), 1).tolist() == [0, 2, 2, 2, 0]
