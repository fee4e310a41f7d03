"""What an evaluation leaves: metrics.json, rows.jsonl, table.md and pictures, all with the protocol's name and hash."""

import json
import platform
from collections.abc import Iterable, Mapping
from dataclasses import asdict
from importlib.metadata import version
from pathlib import Path
from typing import Any

from datamodules.prepare.faces import FaceFinder
from hallo3_lightning.backbones.published import NOT_A_SCORE
from hallo3_lightning.evaluation.feature import VERSION
from hallo3_lightning.evaluation.folders import SIDES, Pairing
from hallo3_lightning.evaluation.frame_curves import Curves
from hallo3_lightning.evaluation.networks import FILES, Networks
from hallo3_lightning.evaluation.recipe import Recipe
from hallo3_lightning.evaluation.scoring import Scores
from hallo3_lightning.evaluation.table import page


def write_report(
    out: Path,
    recipe: Recipe,
    pairing: Pairing,
    networks: Networks,
    used: Iterable[str],
    finders: Mapping[str, FaceFinder | None],
    scores: Scores,
    curves: Mapping[str, Curves],
) -> str:
    """Write the files; the table is returned. curves: of frames, by name."""
    from hallo3_lightning.evaluation import curve_picture, score_picture

    stamp = NOT_A_SCORE if networks.invented else None
    weights = _weights(networks, used)
    result = {
        **({"stamp": stamp} if stamp else {}),
        "protocol": {**asdict(recipe), "hash": recipe.hash},
        **{side: _about(pairing, side) for side in SIDES},
        **({"generation": dict(scores.told.generation)} if scores.told.generation else {}),
        "paired": pairing.paired,
        "faces": {side: None if finder is None else finder.fingerprint for side, finder in finders.items()},
        "metrics": {
            name: {**({"stamp": stamp} if stamp else {}), **told}
            for name, told in [*scores.metrics.items(), *scores.told.metrics.items()]
        },
        "alarms": [alarm.as_json() for alarm in scores.alarms],
        "not_scored": dict(scores.not_scored),
        "missing_files": dict(scores.missing),
        "notes": {**scores.notes, **dict.fromkeys(scores.told.notes, 1)},
        "weights": weights,
        "versions": {name: version(name) for name in ("torch", "torchmetrics", "av")}
        | {"python": platform.python_version(), "features": VERSION},
    }
    table = page(recipe, pairing, scores, stamp, weights)
    _write(out / "metrics.json", json.dumps(result, indent=1, ensure_ascii=False) + "\n")
    stamped = {"stamp": stamp} if stamp else {}
    known = {"protocol": recipe.id, "protocol_hash": recipe.hash}
    lines = (json.dumps({**row, **known, **stamped}, ensure_ascii=False) for row in scores.rows)
    _write(out / "rows.jsonl", "".join(f"{line}\n" for line in lines))
    _write(out / "table.md", table)
    score_picture.draw(out / "clips.png", recipe.name, scores, stamp)
    curve_picture.draw(out / "curves.png", recipe.name, curves, scores.told, stamp)
    return table


def _about(pairing: Pairing, side: str) -> dict[str, Any] | None:
    """A side's folder; None where there is none."""
    folder = pairing.folders.get(side)
    return None if folder is None else {"folder": str(folder), "clips": len(pairing.clips(side))}


def _weights(networks: Networks, used: Iterable[str]) -> dict[str, dict[str, Any]]:
    """What each network's numbers come from."""
    if networks.invented:
        return {name: {"invented": networks.seed, "stamp": NOT_A_SCORE} for name in sorted(used)}
    found = {}
    for name in sorted(used):
        path = FILES[name].find(networks.folder)
        if path is not None:
            state = FILES[name].state(networks.folder)
            found[name] = {"file": path.name, "sha256": networks.fingerprint(name), "state": state}
    return found


def _write(path: Path, text: str) -> None:
    partial = path.with_name(f"{path.name}.partial")
    partial.write_text(text, encoding="utf-8")
    partial.replace(path)
