"""hallo3 cache: what one types before training, and what it must not change."""

import shutil
from pathlib import Path

import pytest
from safetensors.torch import load_file, save_file

from hallo3_lightning.cli import main
from tests.behaviour.studio import scalars

CLIPS = 34 - 17 + 1
"""Places where a clip of 17 frames begins in a take of 34."""

STEPS = ("--trainer.max_steps=5", "--trainer.val_check_interval=5")


def compute(studio, out: Path, *more: str) -> str:
    """Every signal of every clip, with the config of phase 1; the folder."""
    assert main(["cache", f"{studio.folder}/shards", str(out), *studio.identity, f"--clips={CLIPS}", *more]) == 0
    return str(out)


@pytest.fixture(scope="module")
def cached(studio, tmp_path_factory) -> str:
    return compute(studio, tmp_path_factory.mktemp("cache") / "signals", "--workers=1")


def test_training_from_a_cache_has_the_same_losses(studio, cached, tmp_path):
    rounded = compute(studio, tmp_path / "rounded", "--workers=1", "--dtype=bfloat16")
    plain, ahead, nearly = (
        studio.run("fit", *studio.identity, *STEPS, f"--data.cache={caches}") for caches in ("[]", [cached], [rounded])
    )
    losses = scalars(plain, "train/loss")
    assert len(losses) == 5
    assert scalars(ahead, "train/loss") == losses
    assert scalars(ahead, "val/loss") == scalars(plain, "val/loss")
    assert scalars(nearly, "train/loss") != losses, "the cache must have been read"
    for (_, near), (_, exact) in zip(scalars(nearly, "train/loss"), losses, strict=True):
        assert near == pytest.approx(exact, rel=0.02)


def test_another_encoder_stops_a_run_before_its_first_step(studio, cached, tmp_path, capsys):
    folder = tmp_path / "autoencoder"
    shutil.copytree(studio.folder / "shards/autoencoder", folder)
    weights = load_file(folder / "model.safetensors")
    save_file(weights | {"scale": weights["scale"] * 1.001}, folder / "model.safetensors")
    command = ["fit", *studio.identity, f"--data.cache=[{cached}]", f"--model.encoders.video_folder={folder}"]
    assert main(command) == 2
    said = capsys.readouterr().err.strip().splitlines()[-1]
    assert "was computed by another video encoder" in said


def test_wrong_arguments_and_a_folder_not_to_be_written_are_one_sentence(studio, tmp_path, capsys):
    shards = f"{studio.folder}/shards"
    wrong = {
        ("cache", shards, str(tmp_path / "a"), *studio.identity, "--signals", "latent"): "did you mean 'latents'",
        ("cache", str(tmp_path), str(tmp_path / "a"), *studio.identity): "neither train",
        ("cache", shards, str(tmp_path / "a")): "--config",
        ("cache", shards, "/dev/full/a", *studio.identity): "name another folder",
    }
    for command, message in wrong.items():
        assert main(list(command)) == 2
        said = capsys.readouterr().err.strip().splitlines()
        assert len(said) == 1
        assert message in said[0]
