"""What a config becomes: as the command line makes it, quickly, and never from what a file held before."""

from pathlib import Path

import pytest

from hallo3_lightning.errors import UsageError
from hallo3_lightning.training.command_line import CommandLine
from hallo3_lightning.training.settings import resolved, settings_of, with_seed

TINY = Path(__file__).parents[2] / "experiments" / "tiny"


class Stopped(CommandLine):
    """The command line that a run is started by, before it looks at any file of the run."""

    def before_instantiate_classes(self) -> None:
        raise InterruptedError

    def _add_instantiators(self) -> None:
        type(self).last = self


@pytest.mark.parametrize("phase", ["identity", "audio"])
def test_it_is_what_a_run_would_run(phase):
    arguments = [
        f"--config={TINY / phase}.yaml",
        "--model.motion_frames=4",
        "--data.cache=[a, b]",
        "--trainer.devices=3",
    ]
    with pytest.raises(InterruptedError):
        Stopped(["fit", *arguments])
    assert settings_of(arguments) == Stopped.last.settings


def test_layers_are_files_and_settings_and_later_ones_win(tmp_path):
    layer = tmp_path / "layer.yaml"
    layer.write_text("model: {motion_frames: 3}\n")
    layers = [TINY / "audio.yaml", layer]
    assert resolved(layers, {})["model"]["motion_frames"] == 3
    assert resolved([*layers, "--model.motion_frames=4"], {})["model"]["motion_frames"] == 4
    assert resolved(layers, {"model.motion_frames": 5, "model.init_from": ["a.yaml", "--x=1"]})["model"][
        "init_from"
    ] == ["a.yaml", "--x=1"]
    layer.write_text("model: {motion_frames: 6}\n")
    assert resolved(layers, {})["model"]["motion_frames"] == 6


def test_what_is_done_to_one_answer_does_not_show_in_the_next():
    resolved([TINY / "audio.yaml"], {})["model"]["backbone"]["width"] = 7
    assert resolved([TINY / "audio.yaml"], {})["model"]["backbone"]["width"] == 96


def test_another_seed_is_all_that_another_seed_changes():
    one, other = (resolved([TINY / "audio.yaml"], {"seed_everything": seed}) for seed in (1, 2))
    assert one != other
    assert with_seed(one, 2) == other


@pytest.mark.parametrize(
    ("argument", "sentence"),
    [
        ("--model.audo=adaln", "no setting 'model.audo'; did you mean 'model.audio'"),
        ("--model.motion_frames=two", "model.motion_frames is 'two'; expected a whole number"),
        ("--model.backbone=5", "model.backbone is '5'; expected a mapping of width"),
    ],
)
def test_mistakes_are_refused_as_the_command_line_does(argument, sentence):
    with pytest.raises(UsageError, match=sentence):
        settings_of([f"--config={TINY / 'audio.yaml'}", argument])
