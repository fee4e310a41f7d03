"""What a run's config says of its network, also after somebody edited it."""

import json
from pathlib import Path

import pytest

from datamodules.cached import Recipe, save_manifest
from hallo3_lightning.animation.sampling import Sampling
from hallo3_lightning.errors import UsageError
from hallo3_lightning.film.trained import trained
from hallo3_lightning.weights.folder import RECORD
from tests.training.test_checkpoints import saved

CONFIG = """
phase: audio
model:
  audio: adaln
  identity: none
  motion_frames: 2
  options: null
  backbone: {width: 32, heads: 2}
  inputs: {audio_layers: 4}
  encoders: {video_folder: ''}
  corruption: {mask_rate: 0.2}
  sampling: {steps: 8, guidance: 3}
data: {cache: null}
trainer: {precision: null}
"""


def run(folder: Path, config: str) -> Path:
    saved(folder / "checkpoints", 3)
    (folder / "config.yaml").write_text(config)
    return folder


def test_a_config_says_how_to_sample(tmp_path):
    network = trained(run(tmp_path, CONFIG), (), {})
    assert network.sampling == Sampling(steps=8, guidance=3)
    assert (network.motion_frames, network.backbone.width, network.audio) == (2, 32, "adaln")


def cached(folder: Path, *signals: str) -> str:
    """A cache of such signals, by what it says of itself."""
    (folder / "_".join(signals)).mkdir()
    save_manifest(folder / "_".join(signals), Recipe(signals, {}, {}, "float32", None, None), is_finished=True)
    return str(folder / "_".join(signals))


def test_a_run_learnt_from_takes_where_a_cache_had_their_sound(tmp_path):
    def heard_takes(*caches: str) -> bool:
        told = CONFIG.replace("cache: null", f"cache: [{', '.join(caches)}]")
        return trained(run(tmp_path / "run", told), (), {}).heard_takes

    latents, both = cached(tmp_path, "latents"), cached(tmp_path, "audio", "latents")
    assert [heard_takes(*caches) for caches in ((), (latents,), (both,), (latents, both))] == [False, False, True, True]
    assert heard_takes(str(tmp_path / "gone")), "by default a cache has all signals"
    assert not trained(run(tmp_path / "run", CONFIG), (), {}).heard_takes


def test_imported_weights_learnt_from_takes_as_the_published_code_has_them(tmp_path):
    for name in (RECORD, "config.json"):
        (tmp_path / name).write_text("{}")
    config = str(Path(__file__).parents[2] / "experiments/tiny/audio.yaml")
    assert trained(tmp_path, [config], {"video": str(tmp_path)}).heard_takes


EDITS = {
    "steps": ("steps: 8", "steps: eight"),
    "guidanze": ("guidance: 3", "guidanze: 3"),
    "it has no motion_frames": ("  motion_frames: 2\n", ""),
    "many": ("motion_frames: 2", "motion_frames: many"),
    "it has no backbone": ("backbone", "spine"),
    "it has no data": ("data", "date"),
    "it has no cache": ("{cache: null}", "{}"),
    "it has no trainer": ("trainer", "coach"),
    "it has no precision": ("{precision: null}", "{}"),
    "the file holds nothing": (CONFIG, ""),
    "the file holds a list": (CONFIG, "- steps"),
    "the file holds a str": (CONFIG, "hello"),
    "model holds a list where settings by name are expected": ("model:", "model: []\nspare:"),
    "sampling holds nothing": ("sampling: {steps: 8, guidance: 3}", "sampling:"),
    "trainer holds a int": ("{precision: null}", "5"),
    "expected": (CONFIG, ":::\n- ["),
    "backbone holds a list": ("{width: 32, heads: 2}", "[width]"),
}


@pytest.mark.parametrize("told", EDITS)
def test_an_edited_config_is_one_sentence(tmp_path, told):
    with pytest.raises(UsageError, match=rf"^the config of .* is damaged \(.*{told}.*\); copy it from where it was$"):
        trained(run(tmp_path, CONFIG.replace(*EDITS[told])), (), {})


@pytest.mark.parametrize("kind", ["video", "text", "audio"])
def test_a_folder_that_holds_no_encoder_is_named_with_the_option_that_gave_it(tmp_path, kind):
    with pytest.raises(UsageError, match=f"the {kind} encoder .*no config.json there.* --{kind}-encoder FOLDER"):
        trained(run(tmp_path, CONFIG), (), {kind: str(tmp_path)})


AUTOENCODERS = {
    "patch": {"patch": 8, "channels": 5},
    "cogvideox": {"_class_name": "AutoencoderKLCogVideoX", "block_out_channels": [32, 32, 32, 32]},
}


@pytest.mark.parametrize("kind", AUTOENCODERS)
def test_the_size_of_pictures_is_known_without_weights(tmp_path, kind):
    (tmp_path / "config.json").write_text(json.dumps(AUTOENCODERS[kind]))
    encoders = f"{{video: {kind}, video_folder: '{tmp_path}'}}"
    told = CONFIG.replace("{video_folder: ''}", encoders).replace(
        "{width: 32,", "{latent_height: 4, latent_width: 6, width: 32,"
    )
    assert trained(run(tmp_path / "run", told), (), {}).pixels() == (32, 48)
