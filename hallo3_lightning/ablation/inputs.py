"""What the runs of a grid read and do not make: shards, folders of encoders, weights to start from."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from hallo3_lightning.ablation.jobs import Job
from hallo3_lightning.errors import UsageError


def refuse_absent(jobs: Sequence[Job], name: str) -> None:
    """Raise UsageError, with all that is not there, before the first of many runs finds out. name: the grid's."""
    lacking = absent(jobs)
    if lacking:
        told = ", ".join(f"{place} ({key})" for place, key in lacking.items())
        raise UsageError(
            f"{name} needs what is not here: {told}; make it first (its page says how; shards: `hallo3 synthesize` or "
            "`hallo3 prepare`, weights: `hallo3 import-weights`), or name another place in its overrides"
        )


def absent(jobs: Sequence[Job]) -> dict[str, str]:
    """Place -> the setting that names it, of what runs that are not finished will look for in vain."""
    wanted = (need for job in jobs if job.folder.status().state != "finished" for need in _needs(job.config))
    return {place: key for key, place in wanted if "://" not in place and not Path(place).exists()}


def _needs(config: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """Setting and place."""
    yield "data.shards", config["data"]["shards"]
    for source in config["data"].get("mixture") or []:
        yield "data.mixture", source["shards"]
    for name, folder in config["model"]["encoders"].items():
        if name.endswith("_folder") and folder:
            yield f"model.encoders.{name}", folder
    start = config["model"].get("init_from")
    if isinstance(start, str) and not start.endswith((".yaml", ".yml")):
        yield "model.init_from", start
