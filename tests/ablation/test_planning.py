"""A grid of the project, resolved by the real command line into folders."""

import json
from pathlib import Path

import pytest
import yaml

from hallo3_lightning.ablation.grid import Grid, read
from hallo3_lightning.ablation.launch import ablate
from hallo3_lightning.ablation.meaning import fingerprint, resolve
from hallo3_lightning.ablation.planning import plan
from hallo3_lightning.ablation.runs import ancestor_run
from hallo3_lightning.errors import UsageError
from hallo3_lightning.evaluation.recipe import read_recipe

ROOT = Path(__file__).parents[2]
TINY = ROOT / "experiments" / "tiny"


@pytest.fixture
def project(monkeypatch):
    """Configs name their ancestors and data from the project's folder."""
    monkeypatch.chdir(ROOT)


def grid_of(folder: Path, base: str = "audio", **page) -> Grid:
    file = folder / "ways.yaml"
    axes = {} if "arms" in page else {"axes": {"model.audio": ["adaln", "token_concat"]}, "baseline": "adaln"}
    layers = [str(TINY / f"{layer}.yaml") for layer in base.split("+")]
    file.write_text(yaml.safe_dump({"question": "Which?", "base": layers, "seeds": [3], **axes, **page}))
    return read(file)


def phase_1() -> str:
    """The folder of the demo's phase 1, whose digits stand for the data too, which need not be there."""
    return f"identity-seed0-{fingerprint(resolve([TINY / 'identity.yaml'], {}))}"


def jobs_of(grid: Grid, root: Path) -> dict:
    return {job.name: job for job in plan(grid, grid.runs(), root)}


def test_demo_runs_share_one_ancestor_and_have_folders_of_their_own(project, tmp_path):
    grid = read(Path("experiments/grids/demo.yaml"))
    jobs = plan(grid, grid.runs(only=["adaln", "token_concat"], seeds=[1]), tmp_path)
    first, *arms = jobs
    assert [job.name for job in arms] == ["adaln-seed1", "token_concat-seed1"]
    assert [job.needs for job in arms] == [first, first]
    assert first.folder.path.parent == tmp_path
    assert {job.folder.path.parent for job in arms} == {tmp_path / "demo"}
    assert arms[0].folder.path.name.startswith("adaln-seed1-")
    assert arms[0].config["model"]["audio"] == "adaln"
    assert arms[0].config["seed_everything"] == 1
    for job in arms:  # where the run itself will look for what it starts from
        assert ancestor_run(job.config).path == first.folder.path
    assert not list(tmp_path.iterdir())


def test_a_run_is_the_one_that_would_be_typed(project, tmp_path):
    grid = grid_of(tmp_path, overrides={"trainer.max_steps": 7}, seeds=[3, 4])
    for run in grid.runs():
        job = jobs_of(grid, tmp_path / "runs")[run.name]
        typed = resolve([TINY / "audio.yaml"], {**run.overrides, "run.root": "elsewhere"})
        assert job.folder.path.name == f"{run.name}-{fingerprint(typed)}"
        assert {**job.config, "run": None} == {**typed, "run": None}


def test_settings_reach_ancestors_when_asked_for_and_who_leaves_them_shares_theirs(project, tmp_path):
    arms = {"as_it_is": {"model.audio": "adaln"}, "four": {"model.motion_frames": 4}, "more": {"model.motion_frames": 4,
            "model.audio": "adaln"}}  # fmt: skip
    grid = grid_of(tmp_path, arms=arms, baseline="four", ancestors=["model.motion_frames"])
    jobs = jobs_of(grid, tmp_path)
    first, four, more = (jobs[f"{name}-seed3"] for name in arms)
    assert first.needs.folder.path.name == phase_1(), "that of the demo"
    assert first.config["model"]["init_from"] == "experiments/tiny/identity.yaml", "written as in the base"
    assert four.needs is more.needs
    assert four.needs.config["model"]["motion_frames"] == 4
    assert first.needs.config["model"]["motion_frames"] == 2
    for job in (first, four, more):
        assert ancestor_run(job.config).path == job.needs.folder.path
    assert len(jobs) == 5


def test_an_arm_that_its_ancestor_does_not_follow_is_refused_unless_that_is_what_is_compared(project, tmp_path):
    arms = {"two": {"model.motion_frames": 2}, "four": {"model.motion_frames": 4}}
    with pytest.raises(
        UsageError,
        match=r"arm 'four' has model.motion_frames 4, and the run that it starts from \(experiments/tiny/identity.yaml\) "
        r"2; give it the same with ancestors: \[model.motion_frames\], or say ancestors: \[\]",
    ):
        jobs_of(grid_of(tmp_path, arms=arms, baseline="two"), tmp_path)
    jobs = jobs_of(grid_of(tmp_path, arms=arms, baseline="two", ancestors=[]), tmp_path)
    assert jobs["two-seed3"].needs is jobs["four-seed3"].needs


def test_arms_that_only_score_share_one_training_of_their_own_seed(project, tmp_path):
    arms = {"weak": {"model.sampling.guidance": 1.0}, "strong": {"model.sampling.guidance": 4.0},
            "adaln": {"model.audio": "adaln"}}  # fmt: skip
    grid = grid_of(tmp_path, "audio+audio_trained", arms=arms, baseline="weak", ancestors=["model.audio"], seeds=[0, 1])
    jobs = jobs_of(grid, tmp_path)
    for seed in (0, 1):
        weak, strong, adaln = (jobs[f"{name}-seed{seed}"] for name in arms)
        assert weak.needs is strong.needs is not adaln.needs
        assert weak.needs.config["seed_everything"] == adaln.needs.config["seed_everything"] == seed
        assert adaln.needs.config["model"]["audio"] == "adaln"
        assert weak.needs.config["trainer"]["max_steps"] == 700
        assert ancestor_run(weak.config).path == weak.needs.folder.path
        assert weak.needs.needs.name == phase_1(), "phase 1 is trained once"
    assert len(jobs) == 6 + 4 + 1
    with pytest.raises(
        UsageError, match=r"arm 'adaln' has model.audio 'adaln', and the run .*ancestors: \[model.audio\]$"
    ):
        jobs_of(grid_of(tmp_path, "audio+audio_trained", arms=arms, baseline="weak"), tmp_path)


def test_what_is_encoded_is_encoded_once_and_first(project, tmp_path):
    jobs = jobs_of(grid_of(tmp_path, cache=True, seeds=[0, 1]), tmp_path)
    caches = [job for name, job in jobs.items() if name.startswith("cache-")]
    assert len(caches) == 1
    cache = caches[0]
    assert next(iter(jobs.values())) is cache
    runs = [job for job in jobs.values() if job is not cache]
    for job in runs:
        assert job.config["data"]["cache"] == [str(cache.folder.path)]
        assert cache in (job.needs, job.needs.needs)
    assert ancestor_run(runs[1].config).path == runs[0].folder.path
    cache.folder.create(cache.folder.path, cache.config)
    command = cache.folder.command()[3:]
    assert command == ["cache", "data/tiny", str(cache.folder.path), "--config", str(cache.folder.config_file)]
    elsewhere = jobs_of(grid_of(tmp_path, cache=True, seeds=[0, 1]), tmp_path / "other")
    assert elsewhere.keys() == jobs.keys(), "where a cache lies changes no run"


def test_a_cache_says_where_it_stands(project, tmp_path):
    cache = next(iter(jobs_of(grid_of(tmp_path, cache=True), tmp_path).values())).folder
    assert cache.status().state == "pending"
    cache.path.mkdir()
    (cache.path / "cache.json").write_text('{"recipe": {}, "finished": false}')
    assert cache.status().state == "stopped"
    with cache.locked():
        assert cache.status().state == "running"
    (cache.path / "cache.json").write_text('{"recipe": {}, "finished": true}')
    assert cache.status().state == "finished"


@pytest.mark.parametrize(
    ("page", "sentence"),
    [
        ({"overrides": {"model.audo": "x"}}, "arm 'adaln': no setting 'model.audo'; did you mean 'model.audio'"),
        ({"overrides": {"model.motion_frames": "two"}}, "arm 'adaln': model.motion_frames is 'two'; expected a whole"),
        ({"baseline": None}, "has no 'baseline'; name the arm that the others .* one of: adaln, token_concat"),
        (
            {"ancestors": ["model.motion_frame"]},
            "no setting 'model.motion_frame' in a run of phase audio.*did you mean",
        ),
        ({"ancestors": ["model.audio"]}, "no setting 'model.audio' in a run of phase identity"),
        (
            {"arms": {"a": {"trainer.log_every_n_steps": 5}, "b": {"trainer.log_every_n_steps": 6}}, "baseline": "a"},
            "arms 'a' and 'b' are the same run: trainer.log_every_n_steps has no effect on results there",
        ),
        (
            {
                "arms": {"a": {"model.audio": "adaln"}, "b": {"model.audio": "adaln", "data.num_workers": 2}},
                "baseline": "a",
            },
            "arms 'a' and 'b' are the same run: data.num_workers has no effect",
        ),
        (
            {"axes": {"model.audio": [{"class_path": "os.system", "init_args": {"command": "true"}}, "adaln"]}},
            "arm 'audio=system': no .* '{class_path: os.system, .*there are: .*adaln",
        ),
        ({"axes": {"model.audio": ["adaln", "adalm"]}}, "arm 'adalm': no .* 'adalm'.*did you mean 'adaln'"),
    ],
)
def test_a_grid_that_would_compare_nothing_is_refused_with_one_sentence(project, tmp_path, page, sentence):
    with pytest.raises(UsageError, match=sentence) as caught:
        jobs_of(grid_of(tmp_path, **page), tmp_path)
    assert "\n" not in str(caught.value)
    assert str(tmp_path / "ways.yaml") in str(caught.value)


def test_from_another_folder_it_says_where_to_go(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    grid = read(ROOT / "experiments" / "grids" / "demo.yaml")
    with pytest.raises(UsageError, match=r"starts from experiments/tiny/identity.yaml, which is not in") as caught:
        plan(grid, grid.runs(only=["adaln"], seeds=[1]), tmp_path / "runs")
    assert str(caught.value).endswith(f"run this from {ROOT}")


def test_a_root_that_is_a_file_is_refused(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(UsageError, match="--root is .*file is a file; name a folder"):
        ablate(ROOT / "experiments" / "grids" / "demo.yaml", root=tmp_path / "file")


def test_each_run_is_evaluated_behind_it_under_the_protocol_that_the_grid_names(project, tmp_path):
    folder, file = tmp_path / "grids", tmp_path / "protocols/own.yaml"
    folder.mkdir()
    file.parent.mkdir()
    file.write_text("{id: own-id, version: 1, about: a test, frames: 17, metrics: [sharpness/laplacian]}")
    jobs = jobs_of(grid_of(folder, protocol="own"), tmp_path / "runs")
    run, score = jobs["adaln-seed3"], jobs["adaln-seed3:own-id"]
    assert len(jobs) == 5, "phase 1, two runs, an evaluation of each"
    assert (run.folder.trains, score.folder.trains) == (True, False)
    assert score.needs is run
    assert score.folder.path == run.folder.path / "evaluation/own-id"
    assert score.folder.status().state == "pending"
    score.folder.create(score.folder.path, score.config)
    assert score.folder.command()[3:] == ["evaluate", str(run.folder.path), "--protocol", str(file), "--device", "cpu"]
    for hash_there, state in (("another", "pending"), (read_recipe(str(file)).hash, "finished")):
        (score.folder.path / "metrics.json").write_text(json.dumps({"protocol": {"hash": hash_there}}))
        assert score.folder.status().state == state
