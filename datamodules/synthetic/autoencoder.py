"""The tiny video autoencoder, fitted to the shards it will read."""

from pathlib import Path

import torch
from einops import rearrange

from datamodules.index import open_index
from hallo3_lightning.model.encoders.video.patch import PatchAutoencoder
from hallo3_lightning.model.frozen import signed

FOLDER = "autoencoder"
"""Beside the shards: <dataset>/autoencoder."""


def fit_autoencoder(dataset: Path, patch: int = 4, channels: int = 16, takes: int = 300) -> Path:
    """Fit the patch transform to the first training takes and write it beside them; an earlier one is kept.

    Returns its folder.
    """
    folder = dataset / FOLDER
    if (folder / "config.json").is_file():
        return folder
    index = open_index(dataset / "train")
    clips = [signed(_frames(index.read(i).video)) for i in range(min(takes, len(index)))]
    PatchAutoencoder.fit(clips, patch, channels).save(folder)
    return folder


def _frames(video: object) -> torch.Tensor:
    return rearrange(torch.as_tensor(video), "f h w c -> f c h w")
