"""Where a run's numbers come from: commit, versions, data, weights."""

import hashlib
import json
import platform
import subprocess
from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any

from hallo3_lightning.ablation.meaning import ancestor, fingerprint
from hallo3_lightning.ablation.runs import RunFolder, write_atomically
from hallo3_lightning.weights.folder import is_weights, record_of

PACKAGES = ("hallo3_lightning", "torch", "lightning", "diffusers", "transformers", "torchmetrics", "webdataset")


def write(run: RunFolder, config: Mapping[str, Any]) -> None:
    """provenance.json of a run, once: a run that goes on keeps that of its start and appends to `resumed`."""
    path = run.path / "provenance.json"
    if path.is_file():
        known = json.loads(path.read_text())
        known.setdefault("resumed", []).append(code())
    else:
        known = {
            "fingerprint": fingerprint(config),
            "code": code(),
            "versions": versions(),
            "data": data(config),
            "weights": weights(config),
            "starts_from": ancestor(config) or config["model"].get("init_from"),
        }
    write_atomically(path, json.dumps(known, indent=1))


def versions() -> dict[str, str]:
    """Of Python and of the packages that results depend on."""
    return {name: version(name) for name in PACKAGES} | {"python": platform.python_version()}


def code() -> dict[str, Any]:
    """The commit of the code and a hash of what differs from it; empty outside a git checkout."""
    commit = _git("rev-parse", "HEAD")
    if commit is None:
        return {}
    differs = difference()
    return {"commit": commit.strip(), "diff": hashlib.sha256(differs.encode()).hexdigest()[:16] if differs else ""}


def difference() -> str:
    """What tracked files of the code differ in from its commit, as git writes it."""
    return _git("diff", "HEAD") or ""


def _git(*arguments: str) -> str | None:
    here = str(Path(__file__).parent)
    try:
        done = subprocess.run(["git", "-C", here, *arguments], capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        return None
    return done.stdout


def weights(config: Mapping[str, Any]) -> str | None:
    """The fingerprint of the folder of weights that the run starts from, if it starts from one."""
    given = config["model"].get("init_from")
    folder = Path(given) if isinstance(given, str) else None
    return record_of(folder)["fingerprint"] if folder is not None and is_weights(folder) else None


def data(config: Mapping[str, Any]) -> Any:
    """What each data set says of itself: one, or those of a mixture by place."""
    mixture = config["data"].get("mixture") or []
    described = {source["shards"]: _described(source["shards"]) for source in mixture}
    return described or _described(config["data"]["shards"])


def _described(shards: str) -> Any:
    described = Path(shards) / "dataset.json"
    return json.loads(described.read_text()) if described.is_file() else None
