"""Imports go down only: a lower layer never learns of a higher one."""

import ast
from pathlib import Path

ROOT = Path(__file__).parents[1]

LAYERS = [
    ["cli"],
    ["verbs"],
    ["app", "describe", "film", "run_evaluation"],
    ["training.command_line", "training.equipment", "cost", "sizing", "ablation.disk", "ablation.launch"],
    ["ablation", "training", "phases", "weights.exporting"],
    ["animation", "evaluation", "datamodules.synthetic", "weights"],
    ["denoiser", "datamodules"],
    ["conditioning"],
    ["model", "diffusion", "backbones"],
    ["batch", "find", "randomness", "strict_json", "strict_yaml"],
    ["geometry", "errors", "process_memory"],
]
"""From the top; a module may import from its own layer and from those below."""


def modules() -> dict[str, Path]:
    found = {}
    for package in ("hallo3_lightning", "datamodules"):
        for path in sorted((ROOT / package).rglob("*.py")):
            name = ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")
            found[name.removeprefix("hallo3_lightning.")] = path
    return found


def layer(module: str) -> int:
    fits = [(len(name), i) for i, names in enumerate(LAYERS) for name in names if f"{module}.".startswith(f"{name}.")]
    assert fits, f"{module} stands in no layer of this test: say where it belongs"
    return max(fits)[1]


def imported(path: Path, at_top_only: bool = True) -> set[str]:
    tree = ast.parse(path.read_text())
    nodes = tree.body if at_top_only else list(ast.walk(tree))
    found = set()
    for node in nodes:
        if isinstance(node, ast.ImportFrom) and node.module:
            found |= {f"{node.module}.{alias.name}" for alias in node.names} | {node.module}
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
    return {name.removeprefix("hallo3_lightning.") for name in found}


def test_imports_go_down():
    known = modules()
    wrong = [
        f"{module} imports {name}"
        for module, path in known.items()
        if module != "hallo3_lightning"
        for name in imported(path)
        if name in known and name != "hallo3_lightning" and layer(name) < layer(module)
    ]
    assert wrong == []


def test_phases_blocks_sampler_and_animation_never_name_a_strategy():
    strategies = {
        path.stem
        for kind in ("audio", "identity")
        for path in (ROOT / "hallo3_lightning/conditioning" / kind).glob("[a-z]*.py")
    }
    for module, path in modules().items():
        if module.startswith(("model", "diffusion", "animation", "denoiser", "evaluation")):
            named = {
                s for s in strategies if f"conditioning.audio.{s}" in path.read_text() or f'"{s}"' in path.read_text()
            }
            assert named == set(), module


def test_the_command_imports_nothing_heavy():
    heavy = {"torch", "lightning", "numpy", "yaml", "rich", "training", "datamodules", "ablation"}
    assert {name.split(".")[0] for name in imported(ROOT / "hallo3_lightning/cli.py")} & heavy == set()
