"""What an evaluation leaves: metrics.json, rows.jsonl, table.md and a picture, all with the protocol's name and hash."""

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
from hallo3_lightning.evaluation.folders import Pairing
from hallo3_lightning.evaluation.networks import FILES, Networks
from hallo3_lightning.evaluation.recipe import Recipe
from hallo3_lightning.evaluation.scoring import Scores

ARROWS = {True: "↑", False: "↓", None: ""}


def write_report(
    out: Path,
    recipe: Recipe,
    pairing: Pairing,
    networks: Networks,
    used: Iterable[str],
    finders: Mapping[str, FaceFinder | None],
    scores: Scores,
) -> str:
    """Write the files; the table is returned."""
    from hallo3_lightning.evaluation.score_picture import draw

    stamp = NOT_A_SCORE if networks.invented else None
    weights = _weights(networks, used)
    result = {
        **({"stamp": stamp} if stamp else {}),
        "protocol": {**asdict(recipe), "hash": recipe.hash},
        "real": {"folder": str(pairing.folders["real"]), "clips": len(pairing.clips("real"))},
        "fake": {"folder": str(pairing.folders["fake"]), "clips": len(pairing.clips("fake"))},
        "paired": pairing.paired,
        "faces": {side: None if finder is None else finder.fingerprint for side, finder in finders.items()},
        "metrics": {name: {**({"stamp": stamp} if stamp else {}), **told} for name, told in scores.metrics.items()},
        "not_scored": dict(scores.not_scored),
        "missing_files": dict(scores.missing),
        "notes": dict(scores.notes),
        "weights": weights,
        "versions": {name: version(name) for name in ("torch", "torchmetrics", "av")}
        | {"python": platform.python_version(), "features": VERSION},
    }
    table = _table(recipe, pairing, scores, stamp, weights)
    _write(out / "metrics.json", json.dumps(result, indent=1, ensure_ascii=False) + "\n")
    stamped = {"stamp": stamp} if stamp else {}
    known = {"protocol": recipe.id, "protocol_hash": recipe.hash}
    lines = (json.dumps({**row, **known, **stamped}, ensure_ascii=False) for row in scores.rows)
    _write(out / "rows.jsonl", "".join(f"{line}\n" for line in lines))
    _write(out / "table.md", table)
    draw(out / "clips.png", recipe.name, scores, stamp)
    return table


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


def _table(recipe: Recipe, pairing: Pairing, scores: Scores, stamp: str | None, weights: Mapping[str, Any]) -> str:
    """Markdown."""
    clips = {side: len(pairing.clips(side)) for side in pairing.folders}
    parts = [
        *([f"# {stamp}: all weights are invented\n"] if stamp else []),
        f"Protocol {recipe.name}: {clips['fake']} clips of {pairing.folders['fake'].name} against {clips['real']} of "
        f"{pairing.folders['real'].name}{'' if pairing.paired else ', as sets'}.\n",
        "\n".join(_lines(scores, stamp)) + "\n",
    ]
    if scores.not_scored:
        parts.append("Not scored:\n\n" + "".join(f"- {name}: {why}\n" for name, why in scores.not_scored.items()))
    if scores.missing:
        files = "".join(f"- {_file(name, told)}\n" for name, told in scores.missing.items())
        parts.append(f"What each missing file would add (put them in a folder, --weights-dir FOLDER):\n\n{files}")
    failed = [line for name, told in scores.metrics.items() for line in _failures(name, told)]
    if failed:
        parts.append("Clips without a score:\n\n" + "".join(f"- {line}\n" for line in failed))
    notes = [f"{count} {note}" for note, count in scores.notes.items()]
    notes += [
        f"weights {name}: {told['state']}"
        for name, told in weights.items()
        if not told.get("state", "present").startswith("present")
    ]
    if notes:
        parts.append("To know:\n\n" + "".join(f"- {note}\n" for note in notes))
    if recipe.choices:
        parts.append(
            f"What {recipe.id} leaves open, and how it is filled:\n\n" + "".join(f"- {c}\n" for c in recipe.choices)
        )
    return "\n".join(parts)


def _lines(scores: Scores, stamp: str | None) -> Iterable[str]:
    yield "| metric | protocol | fake | real* | unit | scored | frames used |" + (" |" if stamp else "")
    yield "|---|---|---|---|---|---|---|" + ("---|" if stamp else "")
    for name, told in scores.metrics.items():
        error = f" ± {told['std_error']:.2g}" if told.get("std_error") is not None else ""
        used = told["frames_used"]
        cells = (
            f"{told['title']} {ARROWS[told['higher_is_better']]}".strip(),
            name,
            f"{_number(told['value'])}{error}" + (" (few clips)" if told["few"] else ""),
            _number(told["real"]["value"]),
            told["unit"] or "1",
            f"{told['n']} of {told['of']}",
            "-" if used is None else f"{used:.0%}" if isinstance(used, float) else f"{used} rows",
            *([stamp] if stamp else []),
        )
        yield f"| {' | '.join(cells)} |"
    yield ""
    yield (
        "*real: the same number of the real clips; for a distance of sets, of two halves of them, which is what so few "
        "clips of one distribution give. ±: standard error over clips."
    )


def _file(name: str, told: Mapping[str, Any]) -> str:
    size = f"{told['bytes']:,} bytes" if told["bytes"] else "size unknown"
    return (
        f"{name} ({size}, sha256 {told['sha256'] or 'unknown'}): {', '.join(told['would_add'])}; from {told['source']}"
    )


def _failures(name: str, told: Mapping[str, Any]) -> Iterable[str]:
    if told.get("no_distance"):
        yield f"{name}: no distance of {told['no_distance']}"
    for side, statuses in (("fake", told["statuses"]), ("real", told["real"]["statuses"])):
        for status, count in statuses.items():
            yield f"{name}, {side}: {count} of them: {status}"


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.4g}"


def _write(path: Path, text: str) -> None:
    partial = path.with_name(f"{path.name}.partial")
    partial.write_text(text, encoding="utf-8")
    partial.replace(path)
