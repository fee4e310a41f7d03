"""A fingerprint is of what an encoder computes: its weights, sizes, configs and words, wherever they lie."""

import json
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from hallo3_lightning.find import find
from hallo3_lightning.model.fingerprint import fingerprint
from tests.model.test_encoders import cogvideox_folder, patch_folder, t5_folder, wav2vec2_folder

FOLDERS = [cogvideox_folder, patch_folder, t5_folder, wav2vec2_folder]
"""Fixtures; named here so that importing them is no mistake."""

ENCODERS = {"cogvideox": "video", "patch": "video", "t5": "text", "wav2vec2": "audio"}


@pytest.fixture(params=ENCODERS)
def saved(request, tmp_path_factory) -> tuple[str, Path]:
    """An encoder's file, and a folder of it."""
    folder = tmp_path_factory.mktemp("saved") / "model"
    shutil.copytree(request.getfixturevalue(f"{request.param}_folder"), folder)
    return request.param, folder


def of(name: str, folder: Path, tokens: int = 6) -> str:
    kind = ENCODERS[name]
    sizes = (tokens, 12) if kind == "text" else ()
    return fingerprint(find(f"model.encoders.{kind}", name).load(str(folder), *sizes))


def test_the_same_files_elsewhere_are_the_same(saved, tmp_path):
    name, folder = saved
    shutil.copytree(folder, tmp_path / "elsewhere")
    assert of(name, folder) == of(name, tmp_path / "elsewhere")


def test_any_weight_counts(saved):
    name, folder = saved
    before = of(name, folder)
    (path,) = folder.glob("*.safetensors")
    weights = load_file(path)
    last = max(key for key, value in weights.items() if value.ndim)
    changed = weights[last].clone()
    changed[(-1,) * changed.ndim] += torch.finfo(torch.float32).eps + changed[(-1,) * changed.ndim].abs() * 1e-6
    save_file(weights | {last: changed}, path, metadata={"format": "pt"})
    assert of(name, folder) != before


@pytest.mark.parametrize(
    ("saved", "setting", "value"),
    [("cogvideox", "scaling_factor", 0.8), ("t5", "layer_norm_epsilon", 1e-3), ("wav2vec2", "layer_norm_eps", 1e-3)],
    indirect=["saved"],
)
def test_settings_count_that_no_weight_shows(saved, setting, value):
    name, folder = saved
    before = of(name, folder)
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {setting: value}))
    assert of(name, folder) != before


@pytest.mark.parametrize("saved", ["t5"], indirect=True)
def test_words_and_their_number_count(saved):
    name, folder = saved
    before = of(name, folder)
    assert of(name, folder, tokens=7) != before
    words = (folder / "tokenizer.json").read_text()
    (folder / "tokenizer.json").write_text(words.replace("speaks", "sings"))
    assert of(name, folder) != before
