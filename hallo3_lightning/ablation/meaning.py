"""What of a run's config changes its results: its meaning, and the fingerprint that its folder is named by."""

import hashlib
import json
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypedDict

from hallo3_lightning.strict_json import read_json

TRAINER_KEYS = (
    "max_steps",
    "precision",
    "gradient_clip_val",
    "gradient_clip_algorithm",
    "limit_train_batches",
    "limit_test_batches",
    "overfit_batches",
)
"""Trainer options that change results; logging and validation intervals do not. See also `clips_a_step`."""

PARALLEL_KEYS = ("gather", "reduce", "meta")
"""Of the options of `parallel`, those that change results."""

NAMED_CACHE = re.compile("cache-[0-9a-f]{8}")
"""Folders of computed signals that a grid makes."""

DATA_KEYS_ASIDE = ("batch_size", "num_workers", "eval_batch_size", "leading_frames", "strict", "max_bad_fraction")
"""Data options that do not change the results of a run that ends."""


class Described(TypedDict):
    """Shards that say what they are."""

    fingerprint: str


def resolve(layers: Sequence[str | Path], overrides: Mapping[str, Any]) -> dict[str, Any]:
    """The whole validated config that `hallo3 fit` with these layers, then `--key value ...`, would run.

    A layer is a config file, or a setting as one types it: `--model.motion_frames=4`. Raises UsageError where the command
    line would have refused.
    """
    from hallo3_lightning.training.settings import resolved  # takes seconds, and who only looks at runs never asks

    return resolved(layers, overrides)


def ancestor(config: Mapping[str, Any]) -> list[str] | None:
    """The layers whose run this one starts from: config files, then settings that change them, as one types them.

    None when it starts from a checkpoint or from nothing.
    """
    given = config["model"].get("init_from")
    layers = [given] if isinstance(given, str) else list(given or [])
    files = files_of(layers)
    return layers if files and all(file.endswith((".yaml", ".yml")) for file in files) else None


def files_of(layers: Iterable[str]) -> list[str]:
    """The config files among layers."""
    return [layer for layer in layers if not layer.startswith("--")]


def scores_only(config: Mapping[str, Any]) -> bool:
    """Whether a run trains nothing and scores what it starts from: arms that differ in sampling share one training."""
    starts = bool(config["model"].get("init_from"))
    return config["trainer"]["max_steps"] == 0 and bool(config["run"]["evaluate"]) and starts


def results_of(config: Mapping[str, Any]) -> dict[str, Any]:
    """The part of a config that changes results, flat: "model.audio" -> "adaln"."""
    kept = {
        "phase": config["phase"],
        "seed_everything": config["seed_everything"],
        "model": config["model"],
        "data": {k: v for k, v in config["data"].items() if k not in DATA_KEYS_ASIDE},
        "trainer": {k: config["trainer"].get(k) for k in TRAINER_KEYS},
        "clips_a_step": clips_a_step(config),
        "parallel": {k: v for k, v in (config.get("parallel") or {}).items() if k in PARALLEL_KEYS},
    }
    return flat(kept)


def clips_a_step(config: Mapping[str, Any]) -> int:
    """Clips of an optimizer step, of all ranks together: how many ranks share them does not change results.

    Where the number of devices is left to the machine ("auto"), it counts as 1.
    """
    parallel, trainer = config.get("parallel") or {}, config["trainer"]
    devices, nodes = trainer.get("devices"), trainer.get("num_nodes") or 1
    ranks = parallel.get("shard", 1) * parallel.get("replicate", 1)
    if ranks == 1 and str(devices).isdigit():
        ranks = int(str(devices)) * nodes
    return config["data"]["batch_size"] * (trainer.get("accumulate_grad_batches") or 1) * ranks


def fingerprint(config: Mapping[str, Any]) -> str:
    """8 hexadecimal digits of what changes results.

    An ancestor counts by its own fingerprint and not by its file's name; so do shards that say theirs: other data at the
    same place make another run, and the same data at another place do not. A cache that a grid made counts by its name.
    """
    results = meaning_of(config)
    layers = ancestor(config)
    if layers is not None:
        results["model.init_from"] = fingerprint(resolve(layers, {}))
    return hashlib.sha256(json.dumps(results, sort_keys=True, default=str).encode()).hexdigest()[:8]


def meaning_of(config: Mapping[str, Any]) -> dict[str, Any]:
    """What of a config changes results, with data by what they are and not by where; without what it starts from where
    that is another run."""
    results = results_of(config)
    results["data.shards"] = data_of(config["data"]["shards"])
    if config["data"].get("mixture"):
        sources = config["data"]["mixture"]
        results["data.mixture"] = [{**source, "shards": data_of(source["shards"])} for source in sources]
    if config["data"].get("cache"):
        results["data.cache"] = [_cache_of(folder) for folder in config["data"]["cache"]]
    if ancestor(config) is not None:
        results = {k: v for k, v in results.items() if not k.startswith("model.init_from")}
    return results


def data_of(shards: str) -> str:
    """The fingerprint of shards that say theirs, else their place."""
    try:
        return read_json(Path(shards) / "dataset.json", Described)["fingerprint"]
    except (FileNotFoundError, ValueError):  # ValueError: another's file
        return shards


def _cache_of(folder: str) -> str:
    """The name of a cache that is named by what made it, else its place."""
    return Path(folder).name if NAMED_CACHE.fullmatch(Path(folder).name) else folder


def flat(tree: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested mappings as dotted keys."""
    leaves: dict[str, Any] = {}
    for key, value in tree.items():
        if isinstance(value, Mapping) and value:
            leaves |= flat(value, f"{prefix}{key}.")
        else:
            leaves[f"{prefix}{key}"] = value
    return leaves
