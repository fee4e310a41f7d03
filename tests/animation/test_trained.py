"""What a run's config says of its network, also after somebody edited it."""

from pathlib import Path

import pytest

from hallo3_lightning.animation.sampling import Sampling
from hallo3_lightning.animation.trained import trained
from hallo3_lightning.errors import UsageError
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


EDITS = {
    "steps": ("steps: 8", "steps: eight"),
    "guidanze": ("guidance: 3", "guidanze: 3"),
    "it has no motion_frames": ("  motion_frames: 2\n", ""),
    "many": ("motion_frames: 2", "motion_frames: many"),
    "it has no backbone": ("backbone", "spine"),
    "it has no trainer": ("trainer", "coach"),
    "it has no precision": ("{precision: null}", "{}"),
    "NoneType": (CONFIG, ""),
    "str": (CONFIG, "hello"),
    "expected": (CONFIG, ":::\n- ["),
    "dictionary": ("{width: 32, heads: 2}", "[width]"),
}


@pytest.mark.parametrize("told", EDITS)
def test_an_edited_config_is_one_sentence(tmp_path, told):
    with pytest.raises(UsageError, match=rf"^the config of .* is damaged \(.*{told}.*\); copy it from where it was$"):
        trained(run(tmp_path, CONFIG.replace(*EDITS[told])), (), {})
