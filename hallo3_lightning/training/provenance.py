"""Where a run's numbers come from: commit, versions, data, weights."""

import hashlib
import json
import platform
import subprocess
from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any

from hallo3_lightning.ablation.runs import RunFolder, ancestor, fingerprint, write_atomically
from hallo3_lightning.weights.folder import is_weights, record_of

PACKAGES = ("hallo3_lightning", "torch", "lightning", "diffusers", "transformers", "torchmetrics", "webdataset")


def write(run: RunFolder, config: Mapping[str, Any]) -> None:
    """provenance.json of a run, once: a run that goes on keeps that of its start and appends to `resumed`."""
    path = run.path / "provenance.json"
    if path.is_file():
        known = json.loads(path.read_text())
        known.setdefault("resumed", []).append(_commit())
    else:
        known = {
            "fingerprint": fingerprint(config),
            "code": _commit(),
            "versions": {name: version(name) for name in PACKAGES} | {"python": platform.python_version()},
            "data": _data(config),
            "weights": _weights(config),
            "starts_from": ancestor(config) or config["model"].get("init_from"),
        }
    write_atomically(path, json.dumps(known, indent=1))


def _commit() -> dict[str, Any]:
    """The commit of the code and a hash of what differs from it; empty outside a git checkout."""
    here = Path(__file__).parent
    commit = _git(here, "rev-parse", "HEAD")
    if commit is None:
        return {}
    diff = _git(here, "diff", "HEAD") or ""
    return {"commit": commit.strip(), "diff": hashlib.sha256(diff.encode()).hexdigest()[:16] if diff else ""}


def _git(folder: Path, *arguments: str) -> str | None:
    try:
        done = subprocess.run(["git", "-C", str(folder), *arguments], capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        return None
    return done.stdout


def _weights(config: Mapping[str, Any]) -> str | None:
    """The fingerprint of the folder of weights that the run starts from, if it starts from one."""
    given = config["model"].get("init_from")
    folder = Path(given) if isinstance(given, str) else None
    return record_of(folder)["fingerprint"] if folder is not None and is_weights(folder) else None


def _data(config: Mapping[str, Any]) -> Any:
    """What each data set says of itself: one, or those of a mixture by place."""
    mixture = config["data"].get("mixture") or []
    described = {source["shards"]: _described(source["shards"]) for source in mixture}
    return described or _described(config["data"]["shards"])


def _described(shards: str) -> Any:
    described = Path(shards) / "dataset.json"
    return json.loads(described.read_text()) if described.is_file() else None
