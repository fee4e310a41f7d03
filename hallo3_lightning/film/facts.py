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

from hallo3_lightning.film.beforehand import Beforehand
from hallo3_lightning.film.unfinished import UNKNOWN

PACKAGES = ("hallo3_lightning", "torch", "diffusers", "transformers", "av")


def facts_of(known: Beforehand, ranks: int) -> dict[str, Any]:
    """Everything that the frames and the file depend on, as plain values; the same for the same film.

    UNKNOWN where only the weights tell. ranks: processes that share the branches of guidance.
    """
    request, portrait, heard = known.request, known.portrait, known.heard
    placed_as_asked = request.max_memory is None
    return {
        "portrait": digest(portrait.reference, portrait.face_mask, portrait.face_embedding),
        "shown": list(portrait.shown),
        "audio": "through a pipe" if heard is None else heard.digest,
        "prompt": known.prompt,
        **{f"sampling.{name}": value for name, value in asdict(known.sampling).items()},
        **{f"corruption.{name}": value for name, value in asdict(known.network.corruption).items()},
        "shortcuts": request.shortcuts.taken,
        "clip_frames": known.network.clip_frames,
        "motion_frames": known.motion_frames,
        "seed": request.seed,
        "loop": request.loop,
        "device": known.placement.device.partition(":")[0],
        "format": request.kind,
        "compiled": request.compile,
        "processes": ranks,
        "versions": {name: version(name) for name in PACKAGES},
        "weights": known.network.recorded_fingerprint or UNKNOWN,
        "encoders": UNKNOWN,
        "audio_context_frames": UNKNOWN,
        "precision": known.placement.precision if placed_as_asked else UNKNOWN,
        "tiled": known.placement.tiled if placed_as_asked else UNKNOWN,
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
