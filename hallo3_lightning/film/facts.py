"""What a film was made of and how: its provenance, and what tells two requests apart."""

import hashlib
import json
import zipfile
import zlib
from collections.abc import Mapping
from dataclasses import asdict
from importlib.metadata import version
from pathlib import Path
from typing import Any

import av
from PIL import Image
from torch import Tensor

from hallo3_lightning.animation.animator import Animator
from hallo3_lightning.batch import Batch
from hallo3_lightning.film.portrait import Portrait

PACKAGES = ("hallo3_lightning", "torch", "diffusers", "transformers", "av")


def facts_of(
    animator: Animator, batch: Batch, portrait: Portrait, audio: str, weights: str, precision: str, form: str
) -> dict[str, Any]:
    """Everything that the frames and the file depend on, as plain values; the same for the same film.

    audio: SHA-256 of the recording; weights: of the denoiser's; form: mp4, png or npz.
    """
    given = (portrait.reference, portrait.face_mask, portrait.face_embedding)
    chosen = ("clip_frames", "motion_frames", "seed", "loop", "tiled")
    assert batch.captions is not None
    return {
        "portrait": digest(*given),
        "audio": audio,
        "prompt": batch.captions[0],
        "weights": weights,
        "encoders": animator.encoders.fingerprints(),
        **{f"sampling.{name}": value for name, value in asdict(animator.sampling).items()},
        **{f"corruption.{name}": value for name, value in asdict(animator.corruption).items()},
        "shortcuts": animator.shortcuts.taken,
        **{name: getattr(animator, name) for name in chosen},
        "shown": list(portrait.shown),
        "device": animator.residency.device.partition(":")[0],
        "precision": precision,
        "format": form,
        "versions": {name: version(name) for name in PACKAGES},
    }


def digest(*tensors: Tensor | None) -> str:
    """SHA-256 of shapes, kinds and numbers."""
    found = hashlib.sha256()
    for tensor in tensors:
        found.update(b"none" if tensor is None else f"{tensor.dtype} {tuple(tensor.shape)}".encode())
        found.update(b"" if tensor is None else tensor.contiguous().numpy().tobytes())
    return found.hexdigest()


def provenance(facts: Mapping[str, Any]) -> str:
    """The JSON that stands in the film's metadata."""
    return json.dumps({"generated": True, **facts}, sort_keys=True)


def told_by(film: Path) -> dict[str, Any] | None:
    """The facts in a film of ours, in any of its forms; None for another's file, or one that is damaged."""
    try:
        told = json.loads(_comment(film))
        return {name: value for name, value in told.items() if name != "generated"}
    except (
        OSError,
        LookupError,
        ValueError,
        AttributeError,
        RuntimeError,
        zipfile.BadZipFile,
        zlib.error,
        av.FFmpegError,
    ):
        return None


def _comment(film: Path) -> str:
    if film.is_dir():
        with Image.open(min(film.glob("*.png")), formats=["PNG"]) as image:
            return image.info["Comment"]
    if zipfile.is_zipfile(film):
        with zipfile.ZipFile(film) as archive:
            return archive.read("provenance.json").decode()
    limits = {"format_whitelist": "mov", "protocol_whitelist": "none"}  # it may be anybody's file
    with film.open("rb") as file, av.open(file, format="mov", container_options=limits) as container:
        return container.metadata["comment"]
