"""Weights of ours -> diffusers, or one folder of safetensors: `hallo3 export-weights RUN_OR_WEIGHTS OUT`."""

import json
from collections.abc import Mapping
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any, Literal

from torch import Tensor

from hallo3_lightning.ablation.runs import RunFolder
from hallo3_lightning.conditioning.conditioner import NONE, owner, split
from hallo3_lightning.errors import UsageError
from hallo3_lightning.model.transformer import Backbone
from hallo3_lightning.training.checkpoints import weights
from hallo3_lightning.training.start import averaged
from hallo3_lightning.weights import diffusers_folder
from hallo3_lightning.weights.aside import written_aside
from hallo3_lightning.weights.folder import (
    SHARD_BYTES,
    STEM,
    Part,
    backbone_of,
    is_weights,
    kinds,
    record_of,
    verify,
    write_record,
    write_shards,
)

Format = Literal["diffusers", "safetensors"]
DIFFUSERS_ATTENTION_EPS = 1e-6
"""Of the norms of queries and keys: a constant in diffusers' CogVideoXBlock."""


def export_weights(
    source: Path,
    out: Path,
    form: Format = "safetensors",
    shard_bytes: int = SHARD_BYTES,
) -> dict[str, Any]:
    """Write the averaged weights of a run, or a folder of weights, in another form; returns weights.json.

    Args:
        source: a run's folder, a checkpoint in it, or a folder of weights.
        out: folder to make.
        form: "diffusers" (the backbone alone, for `from_pretrained`) or "safetensors" (everything, our names).
        shard_bytes: the most that a shard holds.
    """
    backbone, origin = _origin(source)
    ours = averaged(weights(source))
    if is_weights(source):
        verify(source, ours)
    chosen = _backbone_alone(ours) if form == "diffusers" else ours
    left_out = {name: "not of the backbone" for name in ours if form == "diffusers" and not _is_backbone(name)}
    parts = [Part(name, value.nbytes, partial(_itself, value)) for name, value in chosen.items()]
    with written_aside(out, sum(part.bytes for part in parts)) as aside:
        stem = diffusers_folder.FILE.removesuffix(".safetensors") if form == "diffusers" else STEM
        written = write_shards(aside, parts, stem, shard_bytes)
        if form == "diffusers":
            (aside / "config.json").write_text(json.dumps(diffusers_folder.config_of(backbone), indent=2))
        record = {
            **asdict(written),
            "source": str(source),
            "kind": form,
            "dtype": kinds(value.dtype for value in chosen.values()),
            "parameters": sum(value.numel() for value in chosen.values()),
            "backbone": asdict(backbone),
            **origin,
            "dropped": left_out,
        }
        if form == "diffusers" and (told := _other_epsilons(backbone)):
            record["not_held_by_diffusers"] = told
        write_record(aside, record)
    return record


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
        kept: dict[str, Any] = {key: record[key] for key in ("model", "init_from") if key in record}
        return backbone_of(source), {"strategies": record.get("strategies", {}), **kept, "from": record["fingerprint"]}
    _refuse_other_sources(source)
    run = RunFolder(source if source.is_dir() else source.absolute().parent.parent)
    if not run.config_file.is_file():
        raise UsageError(
            f"'{source}' is no run and no folder of weights: there is no {run.config_file}; name a run's folder, a "
            "checkpoint in it, or what `hallo3 import-weights` made"
        )
    model = run.config()["model"]
    told = {key: model.get(key) for key in ("identity", "audio", "options")}
    return Backbone(**model["backbone"]), {
        "strategies": _strategies(**told),
        "model": told,
        "init_from": model.get("init_from"),
    }


def _refuse_other_sources(source: Path) -> None:
    """Raise a UsageError for what is not there, and for what is exported by another command or another name."""
    if not source.exists():
        raise UsageError(f"there is no '{source}'; name a run, a checkpoint in it, or a folder of weights")
    if is_weights(source.parent) and source.is_file():
        raise UsageError(f"'{source}' is a file in a folder of weights; name the folder, '{source.parent}'")
    if any(map(diffusers_folder.is_folder, (source, source / "transformer"))):
        raise UsageError(
            f"'{source}' is a folder of diffusers; `hallo3 import-weights {source} OUT` makes it ours first"
        )


def _strategies(identity: str | None, audio: str | None, options: Mapping[str, Any] | None) -> dict[str, Any]:
    """A run's conditioners with their options: kind_name -> options."""
    named = {"identity": split(identity or NONE), "audio": split(audio or NONE)}
    return {f"{kind}_{name}": (options or {}).get(name, {}) for kind, names in named.items() for name in names}


def _is_backbone(name: str) -> bool:
    return owner(name) is None


def _backbone_alone(ours: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {name.removeprefix("transformer."): value for name, value in ours.items() if _is_backbone(name)}


def _itself(value: Tensor) -> Tensor:
    return value
