"""The tiny video autoencoder, fitted to the shards it will read."""

import json
import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from einops import rearrange
from safetensors import SafetensorError

from datamodules.index import open_index
from datamodules.synthetic.write import Arguments
from hallo3_lightning.errors import UsageError
from hallo3_lightning.geometry import FRAMES_PER_LATENT
from hallo3_lightning.model.encoders.video.patch import PatchAutoencoder
from hallo3_lightning.model.frozen import signed

FOLDER = "autoencoder"
"""Beside the shards: <dataset>/autoencoder."""

FITTED_TAKES = 300


def check_autoencoder(made: Arguments, patch: int, channels: int) -> None:
    """Raise a UsageError if takes so made cannot be encoded so; to be asked before any is rendered.

    patch: pixels a side.
    """
    for name, count in {"patch": patch, "channels": channels}.items():
        if count < 1:
            raise UsageError(f"--{name} is {count}; expected 1 or more")
    if made.size % (2 * patch):
        raise UsageError(
            f"--size is {made.size} and --patch {patch}; expected a size that {2 * patch} divides, such as "
            f"{2 * patch * math.ceil(made.size / (2 * patch))}: the network takes latents in patches of 2 x 2"
        )
    blocks = min(made.takes, FITTED_TAKES) * math.ceil(made.frames / FRAMES_PER_LATENT) * (made.size // patch) ** 2
    most = min(blocks, FRAMES_PER_LATENT * 3 * patch**2)
    if channels > most:
        raise UsageError(
            f"--channels is {channels}; expected at most {most}: the takes have {blocks} blocks of "
            f"{FRAMES_PER_LATENT} frames x 3 colours x {patch} x {patch} pixels"
        )


def _made_with(folder: Path) -> dict[str, int] | None:
    """The arguments of the autoencoder there; None if there is none, or its writing was cut short."""
    config = folder / "config.json"
    try:
        return dict(json.loads(config.read_text())) if config.is_file() else None
    except ValueError:
        return None


def fit_autoencoder(dataset: Path, patch: int = 4, channels: int = 16, takes: int = FITTED_TAKES) -> Path:
    """Fit the patch transform to the first training takes and write it beside them; an earlier one is kept.

    Returns its folder. Raises UsageError if an earlier one is of another patch or of other channels.
    """
    folder = dataset / FOLDER
    made_with, wanted = _made_with(folder), {"patch": patch, "channels": channels}
    if made_with == wanted:
        return folder
    if made_with is not None:
        there, asked = (", ".join(f"{name} {count}" for name, count in one.items()) for one in (made_with, wanted))
        raise UsageError(
            f"{folder} was made with {there}, asked for was {asked}; choose another folder, or remove this one to fit "
            "it anew"
        )
    index = open_index(dataset / "train")
    write_autoencoder(folder, [index.read(i).video[:] for i in range(min(takes, len(index)))], patch, channels)
    return folder


def write_autoencoder(folder: Path, videos: Sequence[np.ndarray], patch: int, channels: int) -> None:
    """Fit the patch transform to videos [F, H, W, 3] uint8, and write it; patch: pixels a side."""
    fitted = PatchAutoencoder.fit([signed(_frames(video)) for video in videos], patch, channels)
    try:
        fitted.save(folder)
    except SafetensorError as error:  # what safetensors makes of an OSError
        raise UsageError(f"cannot write {folder}: {error}; make room there or choose another folder") from error


def _frames(video: np.ndarray) -> torch.Tensor:
    return rearrange(torch.tensor(video), "f h w c -> f c h w")
