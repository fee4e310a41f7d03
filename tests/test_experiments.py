"""Every YAML that comes with the project is one that the command takes."""

from pathlib import Path

import pytest
import yaml

from hallo3_lightning.ablation.grid import read
from hallo3_lightning.ablation.meaning import ancestor, fingerprint, resolve
from hallo3_lightning.ablation.planning import arm_configs, plan
from hallo3_lightning.cost import network
from hallo3_lightning.evaluation.protocol import Protocol
from hallo3_lightning.evaluation.recipe import read_recipe

ROOT = Path(__file__).parents[1]
EXPERIMENTS = ROOT / "experiments"
GRIDS = sorted(EXPERIMENTS.glob("grids/**/*.yaml"))
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
def test_a_grid_says_what_it_is_for_and_all_its_runs_are_taken(path, tmp_path):
    page = read(path)
    assert page.question.endswith("?")
    assert page.why
    assert page.baseline
    assert page.decide_by
    jobs = plan(page, page.runs(), tmp_path)
    assert len({job.folder.path for job in jobs}) == len(jobs)
    own = [run.name for run in page.runs()]
    scored = [f"{name}:{page.protocol}" for name in own] if page.protocol else []
    assert [job.name for job in jobs][-len(own + scored) :] == own + scored
    if page.protocol:
        assert set(page.decide_by) <= set(read_recipe(page.protocol).metrics)
    else:
        assert set(page.decide_by) <= set(Protocol.metrics)


def test_every_grid_is_there_at_both_sizes():
    tiny = {path.stem for path in GRIDS if path.parent.name == "grids"} - {"demo", "demo_long"}
    assert {path.stem for path in GRIDS if path.parent.name == "full"} == tiny
    bases = {path: {layer.parent.name for layer in read(path).base} for path in GRIDS}
    assert all(bases[path] == ({"full"} if path.parent.name == "full" else {"tiny"}) for path in GRIDS)


def test_the_networks_of_full_size_can_be_built_and_train_what_they_are_told_to():
    models = {}
    for path in GRIDS:
        if path.parent.name == "full":
            for config in arm_configs(read(path), Path("runs")).values():
                model = config["model"]
                models[str([model["identity"], model.get("audio"), model["options"], model["trainable"]])] = model
    trained = {}
    for model in models.values():
        moving = [p.numel() for p in network(model).parameters() if p.requires_grad]
        trained[model["identity"], model.get("audio"), str(model["options"])] = sum(moving)
    assert len(models) >= 8
    assert all(trained.values())


def test_the_arms_of_the_audio_grid_train_equally_many_parameters():
    for path in (EXPERIMENTS / "grids/audio.yaml", EXPERIMENTS / "grids/full/audio.yaml"):
        models = [config["model"] for config in arm_configs(read(path), Path("runs")).values()]
        counts = [sum(p.numel() for p in network(model).parameters() if p.requires_grad) for model in models]
        assert max(counts) <= 1.02 * min(counts)


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
