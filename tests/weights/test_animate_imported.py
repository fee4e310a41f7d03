"""A checkpoint as published, through `hallo3 import-weights` and `hallo3 animate`."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import soundfile
import torch
from einops import rearrange
from rich.console import Console

from datamodules.shards import write_shard
from datamodules.synthetic.take import make_take
from hallo3_lightning.cli import main
from hallo3_lightning.denoiser import Denoiser
from hallo3_lightning.film.beforehand import look_beforehand
from hallo3_lightning.film.facts import facts_of, told_by
from hallo3_lightning.film.making import chunks, cut
from hallo3_lightning.film.preparing import prepare
from hallo3_lightning.film.request import Request
from hallo3_lightning.film.unfinished import Kept
from hallo3_lightning.model.encoders.video.patch import PatchAutoencoder
from hallo3_lightning.weights.names import DENOISER
from hallo3_lightning.weights.rows import published
from tests import tiny
from tests.golden.network import fresh
from tests.golden.test_import import sat_folder

TINY = Path(__file__).parents[2] / "experiments/tiny/audio.yaml"

SIZES = {
    "hidden": 32, "heads": 2, "layers": 2, "temb": 24, "text_dim": 9, "text_len": 6, "latent_channels": 4, "lat_h": 4,
    "lat_w": 6, "latent_frames": 3, "a_blocks": 4, "a_channels": 24, "a_tokens": 2, "a_dim": 16, "a_inter": 20,
    "f_in": 24, "f_tokens": 4, "f_dim": 14,
}  # fmt: skip

SETTINGS = """
model:
  backbone: {{width: 32, heads: 2, blocks: 2, time_width: 24, text_width: 9, text_tokens: 6, latent_channels: 4,
    latent_height: 4, latent_width: 6, latent_frames: 3}}
  identity: reference_network+face_attention
  options:
    reference_network: {{caption: caption_in_training, dead_layer: true}}
    face_attention: {{tokens: 4, width: 14}}
    cross_attention: {{tokens: 2, width: 16, hidden: 20}}
  encoders: {{video_folder: {folder}/autoencoder}}
  sampling: {{steps: 2}}
data: {{clip_frames: 9}}
"""


def network() -> Denoiser:
    """The published strategies, off their start values."""
    torch.manual_seed(0)
    return tiny.nudged(fresh(SIZES, "cross_attention", dead_layer=True)).eval()


def given(folder: Path) -> dict[str, str]:
    """What the film is made of, but for weights."""
    PatchAutoencoder.fit([torch.tanh(tiny.draw(8, 3, 8, 12))], 2, 4).save(folder / "autoencoder")
    (folder / "shards/held_out").mkdir(parents=True)
    take = make_take(3, 0, frames=9, size=16)
    write_shard(folder / "shards/held_out/000000.tar", [take])
    soundfile.write(folder / "speech.wav", np.sin(np.arange(9_600) / 20) * 0.3, 16_000)
    (folder / "sizes.yaml").write_text(SETTINGS.format(folder=folder))
    return {"image": f"{folder / 'shards'}:held_out/{take.key}", "audio": str(folder / "speech.wav")}


def test_imported_weights_animate_as_the_network_that_they_are_of(tmp_path):
    denoiser, made_of, ours = network(), given(tmp_path), tmp_path / "ours"
    table = {f"{DENOISER}mixins.pos_embed.freqs_cos": torch.zeros(3 * 2 * 3, 16)}  # says how many tokens are video
    source = sat_folder(tmp_path / "sat", published(denoiser.state_dict()) | table)
    assert main(["import-weights", str(source), str(ours), "--latents", "3x4x6"]) == 0
    configs = (str(TINY), str(tmp_path / "sizes.yaml"))
    typed = [f"--{name}={value}" for name, value in {**made_of, "weights": ours, "out": tmp_path / "a.npz"}.items()]
    assert main(["animate", *typed, *(f"--config={file}" for file in configs)]) == 0
    request, console = Request(**made_of, weights=ours, out="b.npz", configs=configs), Console(quiet=True)
    known = look_beforehand(request, console)
    assert facts_of(known, ranks=1)["weights"] == told_by(tmp_path / "a.npz")["weights"], "told before they are read"
    prepared = prepare(known, console)
    own = replace(prepared, animator=replace(prepared.animator, denoiser=denoiser.requires_grad_(False)))
    wanted = torch.cat([cut(chunk, own.known.portrait) for chunk in chunks(own, None, Kept())])
    with np.load(tmp_path / "a.npz") as film:
        assert film["frames"].shape == (15, 8, 8, 3)
        assert np.array_equal(film["frames"], rearrange(wanted, "f c h w -> f h w c").numpy())
