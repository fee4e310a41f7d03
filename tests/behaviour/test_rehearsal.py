"""A dry run really trains two steps of each kind of run, says what the grid would cost, and leaves nothing behind."""

import re

import yaml

from hallo3_lightning.cli import main
from tests.behaviour.studio import TINY, Studio


def test_a_dry_run_says_what_it_would_cost_and_leaves_nothing(studio: Studio, tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("COLUMNS", "200")
    file, root = tmp_path / "grids" / "two.yaml", tmp_path / "runs"
    file.parent.mkdir()
    base = [str(TINY / "identity.yaml"), str(studio.folder / "small.yaml")]
    arms = {"plain": {"model.identity": "none"}, "broken": {"model.identity": "none", "data.clip_frames": 401}}
    file.write_text(yaml.safe_dump({"base": base, "arms": arms, "baseline": "plain", "seeds": [0, 1, 2]}))
    assert main(["ablate", str(file), "--root", str(root), "--dry-run", "--parallel", "2"]) == 1
    said = capsys.readouterr().out
    assert re.search(r"plain-seed0 +3 +[\d.e-]+ +[\d.]+ [MG]iB +[\d.]+ [MG]iB +[\w ]+ s", said), said
    assert re.search(r"the probe of broken-seed0: .*has 34 frames, a clip of 401 was asked for", said), said
    assert re.search(r"expected: [\w ]+ with 2 at once, [\w ]+ one after another; disk: .* needed, .* free", said), said
    assert [path.name for path in tmp_path.iterdir()] == ["grids"]
