"""What `hallo3 synthesize` refuses, and that it refuses before it renders."""

import json

import pytest

from datamodules.synthetic.autoencoder import FOLDER, fit_autoencoder
from hallo3_lightning.cli import main
from hallo3_lightning.model.encoders.video.patch import PatchAutoencoder

SMALL = ("--takes=2", "--held-out=1", "--frames=5", "--size=16", "--workers=1")


def said(capsys, *typed: object) -> str:
    """What the command says when it refuses: one line."""
    capsys.readouterr()
    assert main(["synthesize", *map(str, typed)]) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    return error


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (["--patch=5"], "--size is 16 and --patch 5; expected a size that 10 divides, such as 20"),
        (["--size=33"], "--size is 33 and --patch 4; expected a size that 8 divides, such as 40"),
        (["--size=20"], "--size is 20 and --patch 4; expected a size that 8 divides, such as 24"),
        (["--patch=0"], "--patch is 0; expected 1 or more"),
        (["--channels=0"], "--channels is 0; expected 1 or more"),
        (["--channels=65"], "--channels is 65; expected at most 64: the takes have 64 blocks"),
        (["--patch=2", "--channels=49"], "--channels is 49; expected at most 48: the takes have 256 blocks"),
        (["--takes=0"], "--takes is 0; it must be at least 1"),
        (["--workers=0"], "--workers is 0; expected 1 or more"),
        (["--workers=-1"], "--workers is -1; expected 1 or more"),
    ],
)
def test_what_cannot_be_made_is_refused_before_anything_is_written(tmp_path, capsys, wrong, message):
    assert message in said(capsys, tmp_path / "heads", *SMALL, *wrong)
    assert not (tmp_path / "heads").exists()


@pytest.mark.parametrize("most", [("--channels=64",), ("--patch=2", "--channels=48")])
def test_as_many_channels_as_there_can_be(tmp_path, most):
    assert main(["synthesize", str(tmp_path), *SMALL, *most]) == 0
    PatchAutoencoder.load(str(tmp_path / FOLDER))


@pytest.fixture
def made(tmp_path):
    assert main(["synthesize", str(tmp_path), *SMALL, "--channels=6"]) == 0
    return tmp_path


@pytest.mark.parametrize(
    ("other", "asked"),
    [(["--channels=8"], "patch 4, channels 8"), (["--channels=6", "--patch=2"], "patch 2, channels 6")],
)
def test_another_autoencoder_than_the_one_there_is_refused(made, capsys, other, asked):
    assert f"autoencoder was made with patch 4, channels 6, asked for was {asked}; " in said(
        capsys, made, *SMALL, *other
    )
    assert json.loads((made / FOLDER / "config.json").read_text()) == {"patch": 4, "channels": 6}


@pytest.mark.parametrize("rest", ["", '{"patch": 4'])
def test_autoencoder_whose_writing_was_cut_short_is_fitted_anew(made, rest):
    config = made / FOLDER / "config.json"
    whole = config.read_text()
    config.write_text(rest)
    fit_autoencoder(made, patch=4, channels=6)
    assert config.read_text() == whole


@pytest.mark.parametrize("place", ["file", "file/heads"])
def test_a_place_that_cannot_be_written_is_one_sentence(tmp_path, capsys, place):
    (tmp_path / "file").touch()
    assert f"cannot write {tmp_path / place}: " in said(capsys, tmp_path / place, *SMALL)


def test_an_autoencoder_that_cannot_be_written_is_one_sentence(made, capsys):
    (made / FOLDER / "config.json").unlink()
    (made / FOLDER / "model.safetensors").unlink()
    (made / FOLDER / "model.safetensors").mkdir()
    assert f"cannot write {made / FOLDER}: " in said(capsys, made, *SMALL, "--channels=6")


def test_a_full_disk_is_one_sentence(tmp_path, capsys):
    (tmp_path / "train").mkdir()
    (tmp_path / "train" / "train-00000.partial").symlink_to("/dev/full")
    assert "No space left on device; give a folder" in said(capsys, tmp_path, *SMALL)
