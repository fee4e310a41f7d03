"""What frozen encoders give, computed once for all runs that read it, as a job of its own named by what makes it."""

import hashlib
import json
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypedDict

from hallo3_lightning.ablation import meaning
from hallo3_lightning.ablation.jobs import Job
from hallo3_lightning.ablation.runs import RunFolder, Status
from hallo3_lightning.strict_json import read_json

MANIFEST = "cache.json"
"""What `hallo3 cache` writes into its folder: there {"finished": true} says that all is computed."""


class Manifest(TypedDict):
    """What is read here of it."""

    finished: bool


@dataclass(frozen=True)
class CacheFolder(RunFolder):
    """The folder of a cache, with the config that it is made by."""

    trains = False

    def command(self) -> list[str]:
        """The argv of a process that makes it, goes on with it, or finds it finished."""
        shards = self.config()["data"]["shards"]
        typed = ["cache", shards, str(self.path), "--config", str(self.config_file)]
        return [sys.executable, "-m", "hallo3_lightning.cli", *typed]

    def status(self) -> Status:
        """From what `hallo3 cache` writes down, and from whether a live process holds its lock."""
        if _is_finished(self.path / MANIFEST):
            return Status("finished")
        if self.is_locked():
            return Status("running")
        return Status("stopped" if (self.path / MANIFEST).is_file() else "pending")


def caching_job(config: Mapping[str, Any], root: Path) -> Job:
    """The job that computes what the encoders of a resolved config give of its shards."""
    recipe = _recipe(config)
    folder = CacheFolder(_folder(config, root))
    return Job(folder.path.name, folder, recipe)


def with_cache(config: Mapping[str, Any], root: Path) -> dict[str, Any]:
    """The config of a run that reads it."""
    return {**config, "data": {**config["data"], "cache": [str(_folder(config, root))]}}


def _folder(config: Mapping[str, Any], root: Path) -> Path:
    made_by = meaning.results_of(_recipe(config)) | {"data.shards": meaning.data_of(config["data"]["shards"])}
    digits = hashlib.sha256(json.dumps(made_by, sort_keys=True, default=str).encode()).hexdigest()[:8]
    return root / f"cache-{digits}"


def _recipe(config: Mapping[str, Any]) -> dict[str, Any]:
    """A config of nothing but what a cache depends on, so that all who share it write the same one."""
    model, data = config["model"], config["data"]
    return meaning.resolve(
        ["--phase=identity"],
        {
            "model.encoders": model["encoders"],
            "model.backbone.text_tokens": model["backbone"]["text_tokens"],
            "model.backbone.text_width": model["backbone"]["text_width"],
            "data.shards": data["shards"],
            "data.clip_frames": data["clip_frames"],
        },
    )


def _is_finished(manifest: Path) -> bool:
    try:
        return bool(read_json(manifest, Manifest)["finished"])
    except (OSError, ValueError):
        return False
