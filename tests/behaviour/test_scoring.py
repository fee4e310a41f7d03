"""Runs of no steps: they score what they start from as it is, so that one training serves many ways of sampling."""

import pytest

from hallo3_lightning.cli import main
from tests.behaviour.studio import TINY, read_json


def started_from(studio, *changes: str) -> str:
    layers = [str(TINY / "identity.yaml"), str(studio.folder / "small.yaml"), *changes]
    return f"--model.init_from=[{', '.join(layers)}]"


def test_it_scores_what_another_run_has_trained_and_trains_nothing(studio, identity):
    scoring = ("fit", *studio.identity, started_from(studio), "--trainer.max_steps=0", "--run.evaluate=true")
    same = studio.run(*scoring)
    assert same.path != identity.path
    assert same.metrics() == identity.metrics()
    assert same.facts() == identity.facts()
    assert (same.status().state, same.status().step) == ("finished", 0)
    assert not same.checkpoints.exists()
    written = (same.path / "metrics.json").stat().st_mtime_ns
    assert studio.run(*scoring) == same
    assert (same.path / "metrics.json").stat().st_mtime_ns == written, "it is finished"
    other = studio.run(*scoring, "--model.sampling.steps=3")
    assert other.metrics()["metrics"]["psnr"] != same.metrics()["metrics"]["psnr"]
    assert read_json(other.path / "provenance.json")["starts_from"][0].endswith("identity.yaml")


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (("--trainer.max_steps=0",), "trainer.max_steps is 0; the data have no end, so a run needs one"),
        (
            ("--trainer.max_steps=0", "--run.evaluate=true"),
            "or to 0 with --run.evaluate true to score what the run starts",
        ),
        (("--trainer.max_steps=-1", "--run.evaluate=true"), "trainer.max_steps is -1"),
    ],
)
def test_a_run_without_steps_has_something_to_score(studio, capsys, arguments, sentence):
    assert main(("fit", *studio.identity, *arguments)) == 2
    assert sentence in capsys.readouterr().err


def test_what_a_run_starts_from_may_be_changed_by_settings(studio, identity, capsys):
    changed = started_from(studio, "--model.motion_frames=3")
    assert main(("fit", *studio.identity, changed, "--trainer.max_steps=0", "--run.evaluate=true")) == 2
    said = capsys.readouterr().err
    assert "which has no checkpoint yet" in said
    assert f"--config {studio.folder}/small.yaml --model.motion_frames=3 --run.root {studio.folder}/runs`" in said
