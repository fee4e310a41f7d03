"""What `hallo3 ablate` refuses before it reads anything heavy, and what it tells SLURM."""

import re
from dataclasses import fields
from pathlib import Path

import pytest

from hallo3_lightning.cli import main
from hallo3_lightning.training.launching import Slurm
from hallo3_lightning.verbs.ablate import SLURM

DEMO = str(Path(__file__).parents[2] / "experiments/grids/demo.yaml")


@pytest.mark.parametrize(
    ("typed", "said"),
    [
        (["--parallel", "0"], "--parallel is 0; expected 1 or more"),
        (["--retries", "-1"], "--retries is -1; expected 0 or more"),
        (["--only", "arm=adalm"], "no arm 'adalm' in .*; did you mean 'adaln'"),
        (["--seeds", "7"], "no seed '7' in .*; there are: 0, 1"),
        (["--slurm.time", "9"], "--slurm.time is for jobs on SLURM; give --launcher slurm too"),
        (["--slurm.tim", "9"], "unrecognized arguments: --slurm.tim"),
        (["--slurm.requeue", "maybe"], "'maybe'; expected true or false"),
    ],
)
def test_mistakes_are_one_sentence(typed, said, capsys, tmp_path):
    assert main(["ablate", DEMO, "--root", str(tmp_path), *typed]) == 2
    error = capsys.readouterr().err
    assert len(error.splitlines()) == 1
    assert re.search(said, error), error
    assert not list(tmp_path.iterdir())


def test_every_setting_of_slurm_may_be_typed():
    assert {*SLURM, "requeue", "setup"} == {field.name for field in fields(Slurm)}
