"""hallo3 doctor: what this machine has, which weight files are there, and what the missing ones would be for."""

import argparse
import importlib.metadata
import json
import os
import platform
import shutil
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

HELP = "what this machine has, and which weight files are there, missing or not the ones meant; --for evaluate: all metrics"

PACKAGES = ("lightning", "torch", "diffusers", "transformers", "torchmetrics", "av", "onnxruntime")
OPTIONAL = {"onnxruntime": "pip install 'hallo3_lightning[prepare]', to find faces with detector files"}
CODECS = {"h264": "r", "hevc": "r", "vp9": "r", "av1": "r", "aac": "r", "opus": "r", "libx264": "w"}
"""Codecs of PyAV that videos come in (r: read) and that ours are written with (w)."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--weights-dir", type=Path, default=None, metavar="FOLDER", help="of weight files (that in HALLO3_WEIGHTS)"
    )
    parser.add_argument(
        "--for",
        dest="wanted_by",
        default=None,
        metavar="VERB",
        help="only what it needs; exit 1 where a file is missing; for evaluate, every metric there is too",
    )
    parser.add_argument("--json", action="store_true", help="print it as JSON")


def run(weights_dir: Path | None, wanted_by: str | None, json: bool) -> int:
    """Exit status 0: all is well; 1: a package is broken, a file is not the one meant, or one that --for names
    is missing."""
    from hallo3_lightning.backbones import weight_files

    folder = weight_files.weights_dir(weights_dir)
    found = {
        "machine": _machine(),
        "packages": _packages(),
        "codecs": _codecs(),
        "weights": _weights(folder, wanted_by),
    }
    if wanted_by == "evaluate":
        found["metrics"] = _metrics(folder)
    faults = list(_faults(found, wanted_by))
    if json:
        _print_json({**found, "faults": faults})
    else:
        _print(found, folder, faults)
    return 1 if faults else 0


def _machine() -> dict[str, Any]:
    import torch

    devices = [
        {"name": part.name, "memory_bytes": part.total_memory}
        for part in map(torch.cuda.get_device_properties, range(torch.cuda.device_count()))
    ]
    return {
        "python": platform.python_version(),
        "system": platform.platform(),
        "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "devices": devices,
        "free_disk_bytes": shutil.disk_usage(Path.cwd()).free,
    }


def _packages() -> dict[str, str | None]:
    """Version of each; None where it is absent."""
    versions: dict[str, str | None] = {}
    for name in PACKAGES:
        try:
            versions[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            versions[name] = None
    return versions


def _codecs() -> dict[str, bool]:
    """Whether PyAV reads or writes each."""
    try:
        import av
    except ImportError:
        return {}
    there: dict[str, bool] = {}
    for name, mode in CODECS.items():
        try:
            av.Codec(name, "r" if mode == "r" else "w")
            there[name] = True
        except ValueError:  # PyAV's UnknownCodecError is one
            there[name] = False
    return there


def _weights(folder: Path | None, verb: str | None) -> list[dict[str, Any]]:
    from hallo3_lightning.backbones.weight_files import FOLDERS, REGISTRY, WeightFile, WeightFolder
    from hallo3_lightning.errors import unknown

    known: list[WeightFile | WeightFolder] = [*REGISTRY.values(), *FOLDERS]
    verbs = {name for entry in known for name in entry.needed_by}
    if verb is not None and verb not in verbs:
        raise unknown("verb that needs weight files", verb, verbs)
    told = []
    for entry in known:
        if verb is not None and verb not in entry.needed_by:
            continue
        where = entry.find(folder)
        told.append(
            {
                "name": entry.name,
                "state": entry.state(folder),
                "path": None if where is None else str(where),
                "bytes": getattr(entry, "num_bytes", None),
                "sha256": getattr(entry, "sha256", None),
                "setting": getattr(entry, "setting", "--weights-dir"),
                "source": entry.source,
                "licence": entry.licence,
                "purpose": entry.purpose,
                "needed_by": list(entry.needed_by),
            }
        )
    return told


def _metrics(folder: Path | None) -> list[dict[str, Any]]:
    """Every metric: id, unit, which way is better, what it needs, and which weight files it lacks."""
    from dataclasses import asdict

    from hallo3_lightning.evaluation.catalogue import catalogue
    from hallo3_lightning.evaluation.networks import Networks

    return [asdict(entry) for entry in catalogue(Networks(folder))]


def _faults(found: dict[str, Any], verb: str | None) -> Iterable[str]:
    """What should be mended, one sentence each."""
    for name, version in found["packages"].items():
        if version is None and (name not in OPTIONAL or verb == "prepare"):
            yield f"{name} is not installed: {OPTIONAL.get(name, 'pip install hallo3_lightning')}"
    for name, there in found["codecs"].items():
        if not there:
            yield f"PyAV {'reads' if CODECS[name] == 'r' else 'writes'} no {name}: pip install --force-reinstall av"
    for file in found["weights"]:
        if file["state"] == "missing" and verb is not None:
            yield f"{file['name']} is missing"
        elif file["state"] != "missing" and not file["state"].startswith("present"):
            yield f"{file['path']} is not the file meant: {file['state']}; get it from {file['source']}"


def _print_json(found: dict[str, Any]) -> None:
    sys.stdout.write(json.dumps(found, indent=1) + "\n")


def _print(found: dict[str, Any], folder: Path | None, faults: list[str]) -> None:
    from rich.console import Console

    console = Console(file=sys.stdout, highlight=False)
    console.print(_machine_table(found))
    console.print(_weight_table(found["weights"], folder))
    if "metrics" in found:
        console.print("metrics, by the ids that protocols name them with:")
        for line in _metric_lines(found["metrics"]):
            console.print(line, soft_wrap=True, markup=False)
    for file in found["weights"]:
        if not file["state"].startswith("present"):
            console.print(_where_from(file), soft_wrap=True, markup=False)
    for fault in faults:
        console.print(f"- {fault}", soft_wrap=True, markup=False)


def _machine_table(found: dict[str, Any]) -> Any:
    from rich.table import Table

    machine = found["machine"]
    devices = [f"{part['name']} ({part['memory_bytes'] / 2**30:.0f} GiB)" for part in machine["devices"]]
    codecs = [name for name, there in found["codecs"].items() if there]
    table = Table(title="machine", show_header=False)
    table.add_row("python", f"{machine['python']}, {machine['system']}")
    table.add_row("cores", str(machine["cores"]))
    table.add_row("devices", ", ".join(devices) or "none; everything runs on the processor")
    table.add_row("free disk here", f"{machine['free_disk_bytes'] / 2**30:.0f} GiB")
    for name, version in found["packages"].items():
        table.add_row(name, version or f"not installed ({OPTIONAL.get(name, 'needed')})")
    table.add_row("codecs", ", ".join(codecs) or "unknown: av is not installed")
    return table


def _weight_table(weights: list[dict[str, Any]], folder: Path | None) -> Any:
    from rich.table import Table

    title = f"weights in {folder}" if folder else "weights: no folder given (--weights-dir FOLDER or HALLO3_WEIGHTS)"
    table = Table(title=title)
    for heading in ("file or folder", "state", "used by", "what for"):
        table.add_column(heading)
    for file in weights:
        table.add_row(file["name"], file["state"], ", ".join(file["needed_by"]) or "no verb yet", file["purpose"])
    return table


def _metric_lines(metrics: list[dict[str, Any]]) -> Iterable[str]:
    """Variants that differ in nothing that is told here share a line."""
    lines: dict[tuple[str, ...], list[str]] = {}
    for entry in metrics:
        name, _, variant = entry["protocol"].partition("/")
        unit = "" if entry["unit"] == "1" else f", in {entry['unit']}"
        better = "as true clips have it" if entry["better"] == "as true clips" else f"{entry['better']} is better"
        needs = [f"{need} (missing)" if need.split(" ")[0] in entry["lacks"] else need for need in entry["needs"]]
        told = f"{better}{unit}; needs {', '.join(needs) or 'the clip alone'}"
        lines.setdefault((name, told), []).append(variant)
    for (name, told), variants in lines.items():
        yield f"  {name}/{variants[0] if len(variants) == 1 else '{' + ', '.join(variants) + '}'}: {told}"


def _where_from(file: dict[str, Any]) -> str:
    """What to get, from where, and how it is told."""
    if file["setting"] != "--weights-dir":
        return f"{file['name']} (given with {file['setting']}; {file['licence']}): {file['source']}"
    size = f"{file['bytes']:,} bytes" if file["bytes"] else "size unknown"
    return f"{file['name']} ({size}, sha256 {file['sha256'] or 'unknown'}; {file['licence']}): {file['source']}"
