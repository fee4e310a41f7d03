"""Weights of ours -> diffusers, or one folder of safetensors: `hallo3 export-weights RUN_OR_WEIGHTS OUT`."""

import json
from collections.abc import Mapping
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any, Literal

from torch import Tensor

from hallo3_lightning.ablation.runs import RunFolder
from hallo3_lightning.errors import UsageError
from hallo3_lightning.geometry import FRAMES_PER_LATENT, PATCH, pixel_frames
from hallo3_lightning.model.transformer import Backbone
from hallo3_lightning.training.checkpoints import weights
from hallo3_lightning.training.start import averaged
from hallo3_lightning.weights.folder import (
    SHARD_BYTES,
    STEM,
    Part,
    is_weights,
    record_of,
    write_record,
    write_shards,
    written_aside,
)
from hallo3_lightning.weights.source import DIFFUSERS_CLASS, DIFFUSERS_FILE

Format = Literal["diffusers", "safetensors"]
ADAPTERS = ".adapters."
DIFFUSERS_ATTENTION_EPS = 1e-6
"""Of the norms of queries and keys: a constant in diffusers' CogVideoXBlock."""


def export_weights(
    source: Path,
    out: Path,
    form: Format = "safetensors",
    shard_bytes: int = SHARD_BYTES,
) -> int:
    """Write the averaged weights of a run, or a folder of weights, in another form.

    Args:
        source: a run's folder, a checkpoint in it, or a folder of weights.
        out: folder to make.
        form: "diffusers" (the backbone alone, for `from_pretrained`) or "safetensors" (everything, our names).
        shard_bytes: the most that a shard holds.
    """
    backbone, origin = _origin(source)
    ours = averaged(weights(source))
    chosen = _backbone_alone(ours) if form == "diffusers" else ours
    left_out = {name: "not of the backbone" for name in ours if form == "diffusers" and not _is_backbone(name)}
    parts = [Part(name, value.nbytes, partial(_itself, value)) for name, value in chosen.items()]
    with written_aside(out, sum(part.bytes for part in parts)) as aside:
        stem = DIFFUSERS_FILE.removesuffix(".safetensors") if form == "diffusers" else STEM
        fingerprint = write_shards(aside, parts, stem, shard_bytes)
        if form == "diffusers":
            (aside / "config.json").write_text(json.dumps(diffusers_config(backbone), indent=2))
        record = {
            "fingerprint": fingerprint,
            "source": str(source),
            "kind": form,
            "dtype": "+".join(sorted({str(value.dtype).removeprefix("torch.") for value in chosen.values()})),
            "parameters": sum(value.numel() for value in chosen.values()),
            "backbone": asdict(backbone),
            **origin,
            "dropped": left_out,
        }
        if form == "diffusers" and (told := _other_epsilons(backbone)):
            record["not_held_by_diffusers"] = told
        write_record(aside, record)
    return 0


def diffusers_config(size: Backbone) -> dict[str, Any]:
    """config.json of the backbone in diffusers, which has one epsilon for all norms but those of queries and keys."""
    return {
        "_class_name": DIFFUSERS_CLASS,
        "num_attention_heads": size.heads,
        "attention_head_dim": size.head_dim,
        "in_channels": 2 * size.latent_channels,
        "out_channels": size.latent_channels,
        "time_embed_dim": size.time_width,
        "text_embed_dim": size.text_width,
        "num_layers": size.blocks,
        "sample_width": size.latent_width,
        "sample_height": size.latent_height,
        "sample_frames": pixel_frames(size.latent_frames),
        "patch_size": PATCH,
        "temporal_compression_ratio": FRAMES_PER_LATENT,
        "max_text_seq_length": size.text_tokens,
        "norm_eps": size.norm_eps,
        "use_rotary_positional_embeddings": size.rotary,
        "use_learned_positional_embeddings": size.learned_positions,
    }


def _other_epsilons(size: Backbone) -> dict[str, str]:
    """The epsilons of ours that config.json has no place for: name -> what diffusers takes instead."""
    theirs = {"output_norm_eps": size.norm_eps, "attention_norm_eps": DIFFUSERS_ATTENTION_EPS}
    return {
        name: f"{getattr(size, name)} in our network, {eps} in diffusers', which gives slightly other outputs"
        for name, eps in theirs.items()
        if getattr(size, name) != eps
    }


def _origin(source: Path) -> tuple[Backbone, dict[str, Any]]:
    """Sizes of the backbone, and what else is known of where the weights come from."""
    if is_weights(source):
        record = record_of(source)
        return Backbone(**record["backbone"]), {
            "strategies": record.get("strategies", {}),
            "from": record["fingerprint"],
        }
    if not source.exists():
        raise UsageError(f"there is no '{source}'; name a run, a checkpoint in it, or a folder of weights")
    run = RunFolder(source if source.is_dir() else source.absolute().parent.parent)
    if not run.config_file.is_file():
        raise UsageError(f"'{source}' is no run and no folder of weights: there is no {run.config_file}")
    model = run.config()["model"]
    told = {key: model.get(key) for key in ("identity", "audio", "options")}
    return Backbone(**model["backbone"]), {"model": told, "init_from": model.get("init_from")}


def _is_backbone(name: str) -> bool:
    return name.startswith("transformer.") and ADAPTERS not in name


def _backbone_alone(ours: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {name.removeprefix("transformer."): value for name, value in ours.items() if _is_backbone(name)}


def _itself(value: Tensor) -> Tensor:
    return value
