"""Alarms during a run: scalars at every validation, sentences for those that ring."""

import pytest

from datamodules.synthetic.autoencoder import fit_autoencoder
from datamodules.synthetic.write import synthesize
from hallo3_lightning.cli import main
from hallo3_lightning.training import curves
from tests.behaviour.studio import LAYER, Studio, events, scalars


@pytest.fixture(scope="module")
def wide(tmp_path_factory) -> Studio:
    """As the studio, with clips enough for an alarm."""
    folder = tmp_path_factory.mktemp("wide")
    fit_autoencoder(synthesize(folder / "shards", takes=6, held_out=6, frames=34, size=32, workers=1))
    (folder / "small.yaml").write_text(LAYER.format(folder=folder))
    return Studio(folder)


def test_an_untrained_network_rings(wide, capsys):
    run = wide.run("fit", *wide.identity, "--trainer.val_check_interval=1")
    told = capsys.readouterr().out
    assert [step for step, _ in scalars(run, "alarm/low_quality")] == [1, 2]
    assert min(excess for _, excess in scalars(run, "alarm/low_quality")) > 0
    table = curves.rows(run.path / "curves.csv")
    assert [step for step, name, _ in table if name == "alarm/low_quality"] == [1, 2]
    assert told.count("low quality: pictures are noisy") == 2
    assert told.count("alarm at step 2: ") == sum(excess[1][1] > 0 for excess in _alarms(run))
    assert "alarm/lips_off" not in events(run).Tags()["scalars"]  # phase 1 hears nothing


def test_a_test_rings_and_its_scores_say_so(wide, capsys):
    run = wide.run("fit", *wide.identity, "--trainer.val_check_interval=1")
    assert main(["test", *wide.identity]) == 0
    alarms = {alarm["name"]: alarm for alarm in run.metrics()["alarms"]}
    assert alarms.keys() == {"identity_drift", "seams", "low_quality"}
    assert alarms["low_quality"]["rings"]
    assert "the mean of the reconstruction and 2 deviations" in alarms["low_quality"]["sentence"]
    assert f"alarm at step 2: {alarms['low_quality']['sentence']}" in capsys.readouterr().out
    (scalar,) = scalars(run, "test/alarm/low_quality")
    assert scalar == (2, pytest.approx(alarms["low_quality"]["excess"]))


def _alarms(run) -> list[list[tuple[int, float]]]:
    return [scalars(run, tag) for tag in events(run).Tags()["scalars"] if tag.startswith("alarm/")]
