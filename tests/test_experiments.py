"""Every YAML that comes with the project is one that the command takes."""

from pathlib import Path

import pytest
import yaml

from hallo3_lightning.ablation import grid
from hallo3_lightning.ablation.runs import ancestor, fingerprint, resolve
from hallo3_lightning.evaluation.recipe import read_recipe

ROOT = Path(__file__).parents[1]
EXPERIMENTS = ROOT / "experiments"
GRIDS = sorted(EXPERIMENTS.glob("grids/*.yaml"))
PROTOCOLS = sorted(EXPERIMENTS.glob("protocols/*.yaml"))
CONFIGS = sorted(set(EXPERIMENTS.rglob("*.yaml")) - set(GRIDS) - set(PROTOCOLS))


@pytest.fixture(autouse=True)
def _where_they_are_typed(monkeypatch):
    """Paths in them are relative to the root of the project."""
    monkeypatch.chdir(ROOT)


def name(path: Path) -> str:
    return str(path.relative_to(EXPERIMENTS))


@pytest.mark.parametrize("path", CONFIGS, ids=name)
def test_a_config_is_taken(path):
    config = resolve(_layers(path), {})
    for key, value in (yaml.safe_load(path.read_text()) or {}).items():
        assert _within(value, config[key]), f"{key} came out as {config[key]}"
    assert len(fingerprint(config)) == 8


def _layers(path: Path) -> list[Path]:
    """A list of differences, audio_long.yaml, stands on audio.yaml."""
    base = path.with_name(f"{path.stem.split('_')[0]}.yaml")
    return [path] if base == path else [base, path]


def _within(part, whole) -> bool:
    if isinstance(part, dict):
        return all(key in whole and _within(value, whole[key]) for key, value in part.items())
    return part == whole


@pytest.mark.parametrize("path", GRIDS, ids=name)
def test_every_run_of_a_grid_is_taken_and_is_a_run_of_its_own(path):
    page = grid.read(path)
    assert page.question
    runs = page.runs()
    found = [fingerprint(resolve(page.base, run.overrides)) for run in (runs[0], runs[-1])]
    by_arm = [fingerprint(resolve(page.base, arm.settings)) for arm in page.arms]
    assert len(set(by_arm)) == len(page.arms)
    assert len(runs) == 1 or found[0] != found[1]


@pytest.mark.parametrize("path", CONFIGS, ids=name)
def test_what_a_run_starts_from_is_there(path):
    for file in ancestor(resolve(_layers(path), {})) or []:
        assert Path(file).is_file(), file


@pytest.mark.parametrize("path", PROTOCOLS, ids=name)
def test_a_protocol_is_taken_and_says_what_it_leaves_open(path):
    recipe = read_recipe(path.stem)
    assert recipe.id == path.stem
    assert len(recipe.hash) == 8
    assert not path.stem.endswith("-paper") or len(recipe.choices) >= 5


def test_there_are_configs_and_grids():
    assert {"tiny/identity.yaml", "tiny/audio.yaml"} <= {name(path) for path in CONFIGS}
    assert {"hdtf-paper", "celebv-paper", "wild-paper", "hallo3-v1", "tiny"} <= {path.stem for path in PROTOCOLS}
    assert EXPERIMENTS / "grids/demo.yaml" in GRIDS
