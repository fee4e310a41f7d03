"""Every choice of a strategy trains, validates and is tested by the command alone."""

import os
from pathlib import Path

import pytest

import hallo3_lightning.conditioning.audio as audio_strategies
from hallo3_lightning.cli import main
from hallo3_lightning.find import names
from tests.behaviour.studio import checkpoint, read_json, scalars

AUDIO = [*names("conditioning.audio"), "none", "adaln+cross_attention"]
IDENTITY = [*names("conditioning.identity"), "none", "reference_network+face_attention"]
LONGER = ("--model.optimization.learning_rate=0.01", "--trainer.max_steps=60", "--trainer.val_check_interval=30")


def is_tested(run) -> bool:
    """Whether the run trained its two steps, was validated, and was scored on every held-out clip."""
    report = read_json(run.path / "metrics.json")
    steps = [step for step, _ in scalars(run, "train/loss")]
    return steps == [0, 1] and len(scalars(run, "val/loss")) == 1 and report["metrics"]["psnr"]["n"] == 3


@pytest.mark.parametrize("name", IDENTITY)
def test_every_identity_strategy_trains_and_is_tested(name, studio):
    assert is_tested(studio.run("fit", *studio.identity, f"--model.identity={name}", "--run.evaluate=true"))


@pytest.mark.parametrize("count", [0, 1, 2, 4])
def test_every_number_of_motion_frames_trains_and_is_tested(count, studio):
    assert is_tested(studio.run("fit", *studio.identity, f"--model.motion_frames={count}", "--run.evaluate=true"))


@pytest.mark.parametrize("name", AUDIO)
def test_every_audio_strategy_trains_and_is_tested(name, studio, identity):
    everything = ["--model.trainable=['*']"] if name == "none" else []
    run = studio.run("fit", *studio.audio, f"--model.audio={name}", "--run.evaluate=true", *everything)
    assert is_tested(run)
    before, after = checkpoint(identity)["state_dict"], checkpoint(run)["state_dict"]
    key = "transformer.patch_embed.proj.weight"
    kept = bool((after[f"denoiser.{key}"] == before[f"average.{key.replace('.', '/')}"]).all())
    assert kept == (not everything), "phase 2 starts from the average of phase 1 and trains what audio brings"


@pytest.fixture(scope="session")
def known(studio) -> str:
    """Shards whose held-out takes are those one trains on: on so few clips, only there must the loss fall."""
    folder = studio.folder / "known"
    folder.mkdir()
    for split in ("train", "held_out"):
        (folder / split).symlink_to(studio.folder / "shards/train")
    return f"--data.shards={folder}"


def test_training_lowers_the_loss(studio, known):
    first = studio.run("fit", *studio.identity, known, *LONGER)
    second = studio.run("fit", *studio.audio, known, f"--model.init_from={first.path}", *LONGER)
    early, late = (value for _, value in scalars(first, "val/loss"))
    first_audio, last_audio = (value for _, value in scalars(second, "val/loss"))
    assert late < 0.97 * early
    assert last_audio < first_audio < late


FILM = '''
from einops import rearrange
from torch import Tensor, nn, zeros_like

from hallo3_lightning.batch import Batch
from hallo3_lightning.conditioning.conditioner import Conditioner, Inputs
from hallo3_lightning.model.sites import Adapter, BlockModulation, Host, Modulation, Prepared
from hallo3_lightning.model.transformer import Backbone


class FilmAdapter(Adapter):
    def __init__(self, width: int, context_width: int) -> None:
        super().__init__()
        self.linear = nn.Linear(context_width, 2 * width)
        nn.init.zeros_(self.linear.weight)
        nn.init.zeros_(self.linear.bias)

    def prepare(self, signal: Tensor, host: Host) -> Prepared:
        shift, scale = rearrange(self.linear(signal), "b t (two c) -> two b t 1 c", two=2)
        still = Modulation(*[zeros_like(shift)] * 3)
        return Prepared(modulation=BlockModulation(Modulation(shift, scale, zeros_like(shift)), still))

    def modulation(self, prepared: Prepared) -> BlockModulation | None:
        return prepared.modulation


class Film(Conditioner):
    """Shifts and scales the patches of a latent frame by the sound of its first pixel frame."""

    starts_neutral = True
    needs = ("audio_features",)

    def __init__(self, backbone: Backbone, inputs: Inputs, channels: int = 8) -> None:
        super().__init__(backbone, inputs)
        self.channels = channels
        self.project = nn.Linear(inputs.audio_layers * inputs.audio_channels, channels)

    def encode(self, batch: Batch) -> Tensor:
        return self.project(rearrange(batch.audio_features[:, ::4, 2], "b t layers c -> b t (layers c)"))

    def adapter(self, block: int) -> Adapter:
        return FilmAdapter(self.backbone.width, self.channels)
'''


@pytest.fixture
def film():
    """A strategy that is one new file in the folder; its name is this process's own, for tests may run side by side."""
    name = f"film_{os.getpid()}"
    file = Path(audio_strategies.__path__[0]) / f"{name}.py"
    file.write_text(FILM)
    try:
        yield name
    finally:
        file.unlink()


def test_an_audio_strategy_is_one_new_file(film, studio, identity, capsys):
    typed = ("fit", *studio.audio, f"--model.audio={film}")
    run = studio.run(*typed, f"--model.options.{film}.channels=6", "--run.evaluate=true")
    assert is_tested(run)
    state = checkpoint(run)["state_dict"]
    shape = [2 * 32, 6]
    for block in (0, 1):
        assert [
            *state[f"denoiser.transformer.transformer_blocks.{block}.adapters.audio_{film}.linear.weight"].shape
        ] == shape
    with pytest.raises(SystemExit, match="0"):
        main(["fit", "--help"])
    assert film in "".join(capsys.readouterr().out.split())
    assert main([*typed[:-1], "--model.audio=flim_1"]) == 2
    assert film in capsys.readouterr().err
