"""`hallo3 animate --audio-context-frames`: what it is by default, and that films tell it and differ by it."""

import importlib
import os
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
import yaml
from einops import rearrange
from rich.console import Console

from datamodules.index import open_index
from hallo3_lightning.cli import main
from hallo3_lightning.errors import UsageError
from hallo3_lightning.film.animate import animate
from hallo3_lightning.film.audio_context import trained_with
from hallo3_lightning.film.beforehand import look_beforehand
from hallo3_lightning.film.facts import told_by
from hallo3_lightning.film.preparing import prepare
from hallo3_lightning.film.request import Request
from tests.behaviour.studio import ROOT, Studio

FRAMES = 24


@pytest.fixture(scope="module")
def weights(studio: Studio, identity, tmp_path_factory) -> Path:
    """The folder of a run that trained on cached features of sound."""
    cached = tmp_path_factory.mktemp("cache") / "signals"
    shards = f"{studio.folder}/shards"
    assert main(["cache", shards, str(cached), *studio.identity, "--signals", "audio", "--workers=1"]) == 0
    return studio.run("fit", *studio.audio, f"--data.cache=[{cached}]").path


@pytest.fixture(scope="module")
def of_clips(weights, tmp_path_factory) -> Path:
    """The same weights, as if they had been trained without a cache."""
    folder = tmp_path_factory.mktemp("clips")
    (folder / "checkpoints").symlink_to(weights / "checkpoints")
    config = yaml.safe_load((weights / "config.yaml").read_text())
    config["data"]["cache"] = None
    (folder / "config.yaml").write_text(yaml.safe_dump(config))
    return folder


@pytest.fixture(scope="module")
def given(studio, weights, tmp_path_factory) -> dict[str, object]:
    """A portrait and its sound."""
    index, folder = open_index(studio.folder / "shards/held_out"), tmp_path_factory.mktemp("given")
    sample = index.read(0)
    soundfile.write(folder / "speech.wav", sample.waveform[: FRAMES * 640], 16_000)
    image = f"{studio.folder / 'shards'}:held_out/{sample.key}"
    return {"image": image, "audio": folder / "speech.wav", "weights": weights}


def typed(out: Path, *more: str, **options: object) -> int:
    """Type `hallo3 animate` with those options."""
    told = (part for name, value in {**options, "out": out}.items() for part in (f"--{name}", str(value)))
    return main(["animate", *told, *more])


def frames(film: Path) -> np.ndarray:
    with np.load(film) as arrays:
        return arrays["frames"]


@pytest.fixture(scope="module")
def plain(given, tmp_path_factory) -> Path:
    """The film that one gets without saying how far to hear."""
    out = tmp_path_factory.mktemp("film") / "plain.npz"
    assert typed(out, **given) == 0
    return out


def test_weights_that_learnt_from_takes_hear_as_far_as_the_encoder_wants(given, plain, tmp_path, capsys):
    assert told_by(plain)["audio_context_frames"] == "3"
    assert typed(tmp_path / "all.npz", "--audio-context-frames", "all", **given) == 0
    assert "audio context all frames" in capsys.readouterr().out
    assert told_by(tmp_path / "all.npz")["audio_context_frames"] == "all"
    assert np.array_equal(frames(plain), frames(tmp_path / "all.npz")), "log-mel spectra are exact with three"


def test_weights_that_learnt_from_clips_hear_two_frames_around(given, of_clips, tmp_path, capsys):
    assert typed(tmp_path / "clips.npz", **{**given, "weights": of_clips}) == 0
    assert "audio context 2 frames" in capsys.readouterr().out
    assert told_by(tmp_path / "clips.npz")["audio_context_frames"] == "2"


def test_a_film_is_not_gone_on_with_by_one_who_hears_otherwise(given, plain, capsys):
    assert typed(plain, "--audio-context-frames", "12", **given) == 2
    assert "differing in audio_context_frames (3 there, 12 here)" in capsys.readouterr().err


def test_live_speech_waits_for_two_frames_unless_one_asks_for_more(given, plain, tmp_path, monkeypatch):
    waveform, _ = soundfile.read(given["audio"], dtype="int16")
    for more, told in (((), "3 before, 2 behind"), (("--audio-context-frames", "3"), "3")):
        reader, writer = os.pipe()
        os.write(writer, waveform.tobytes())
        os.close(writer)
        out = tmp_path / f"piped{len(more)}.npz"
        with os.fdopen(reader) as speech, monkeypatch.context() as patched:
            patched.setattr(sys, "stdin", speech)
            assert typed(out, "--pcm", "16000", *more, **{**given, "audio": "-"}) == 0
        assert told_by(out)["audio_context_frames"] == told
    assert np.array_equal(frames(out), frames(plain))


def test_from_python_it_is_a_setting_like_the_others(given, plain):
    film = torch.cat(list(animate(**given, audio_context_frames=9)))
    assert np.array_equal(rearrange(film, "f c h w -> f h w c").numpy(), frames(plain))
    with pytest.raises(UsageError, match="--audio-context-frames is 1; give the frames"):
        animate(**given, audio_context_frames=1)


def test_benchmarks_hear_and_compute_as_the_command(of_clips, weights, given, monkeypatch):
    monkeypatch.syspath_prepend(ROOT / "benchmarks")
    streaming = importlib.import_module("streaming")
    for place in (weights, of_clips):
        request = Request(given["image"], str(given["audio"]), place, None, device="cpu")
        prepared = prepare(look_beforehand(request, Console(quiet=True)), Console(quiet=True))
        performer = streaming.from_run(place)
        assert trained_with(performer.heard_frames, is_live=False) == prepared.audio_context
        assert performer.placement == prepared.placement
