"""What was launched stays what it was: changes are found by what they mean, told with key, before and after."""

import json
from pathlib import Path

import pytest
import yaml

from hallo3_lightning.ablation.freezing import edits, forked, freeze, refuse_changed
from hallo3_lightning.ablation.grid import Grid, read
from hallo3_lightning.ablation.planning import arm_configs
from hallo3_lightning.errors import UsageError

ROOT = Path(__file__).parents[2]
TINY = ROOT / "experiments" / "tiny"


@pytest.fixture
def project(tmp_path, monkeypatch):
    """A project of one grid, whose audio phase starts from an identity phase, both as in experiments/tiny."""
    monkeypatch.chdir(tmp_path)
    for name in ("identity", "audio"):
        text = (TINY / f"{name}.yaml").read_text().replace("experiments/tiny/", "experiments/small/")
        write(tmp_path / f"experiments/small/{name}.yaml", text)
    write_page()
    return tmp_path


def write(file: Path, text: str) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text)


def write_page(**changes) -> None:
    page = {
        "question": "Which?",
        "base": ["small/audio.yaml"],
        "axes": {"model.audio": ["adaln", "token_concat"]},
        "baseline": "adaln",
        "seeds": [0],
    }
    write(Path("experiments/grids/ways.yaml"), yaml.safe_dump(page | changes))


def edit(name: str, before: str, after: str) -> None:
    file = Path(f"experiments/small/{name}.yaml")
    assert before in file.read_text()
    write(file, file.read_text().replace(before, after))


def grid() -> Grid:
    return read(Path("experiments/grids/ways.yaml"))


def launch(page: Grid | None = None) -> None:
    page = page or grid()
    freeze(page, Path("runs"), arm_configs(page, Path("runs")))


def refusal() -> str:
    with pytest.raises(UsageError) as caught:
        refuse_changed(grid(), Path("runs"), arm_configs(grid(), Path("runs")))
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_what_changes_no_result_is_no_change(project):
    launch()
    write_page(question="How?", why="So.", baseline="token_concat", decide_by=["psnr"], strata=["yaw"])
    page = Path("experiments/grids/ways.yaml")
    write(page, "# a comment\n\n" + page.read_text().replace("question", "\nquestion"))
    edit("audio", "log_every_n_steps: 10", "log_every_n_steps: 20  # more rarely")
    launch()
    assert edits(grid(), Path("runs")) == []


def test_arms_and_seeds_may_join(project):
    launch()
    write_page(axes={"model.audio": ["adaln", "cross_attention", "token_concat"]}, seeds=[4, 0])
    launch()
    arms = json.loads(Path("runs/ways/meaning.json").read_text())["arms"]
    assert [*arms] == ["adaln", "token_concat", "cross_attention"]
    edit("audio", "max_steps: 700", "max_steps: 800")
    assert "trainer.max_steps was 700, is 800 (all arms)" in refusal()


def test_a_change_is_refused_with_its_key_and_both_values_and_whose_it_is(project):
    launch()
    write_page(arm_overrides={"adaln": {"model.options.adaln.hidden": 96}}, overrides={"trainer.max_steps": 300})
    said = refusal()
    assert said.startswith("experiments/grids/ways.yaml no longer means what was launched in runs/ways: ")
    assert "trainer.max_steps was 700, is 300 (all arms)" in said
    assert "model.options.adaln.hidden was 80, is 96 (adaln)" in said
    assert said.endswith("put it back, or launch it as a grid of its own with --fork NAME")
    write_page()
    launch()


def test_a_change_of_what_the_runs_start_from_is_one_of_the_grid(project):
    launch()
    edit("identity", "max_steps: 1500", "max_steps: 1600")
    assert "identity before it: trainer.max_steps was 1500, is 1600 (all arms)" in refusal()


def test_other_data_at_the_same_place_are_a_change(project):
    write(project / "data/tiny/dataset.json", '{"arguments": {}, "fingerprint": "one"}')
    launch()
    write(project / "data/tiny/dataset.json", '{"arguments": {}, "fingerprint": "two"}')
    assert "data.shards was one, is two (all arms)" in refusal()


def test_another_protocol_is_a_change(project):
    write(project / "experiments/protocols/strict-v1.yaml", "id: strict-v1\n")
    launch()
    write_page(protocol="strict-v1")
    assert "protocol was the runs' own test, is strict-v1 (all arms)" in refusal()


def test_many_changes_are_counted(project):
    launch()
    write_page(overrides={f"model.backbone.{key}": 4 for key in ("width", "heads", "blocks", "time_width", "text_tokens",
               "text_width")}, ancestors=["model.backbone"])  # fmt: skip
    assert refusal().count(", is 4 (all arms)") == 5
    assert "; and 7 more; put it back" in refusal()


def test_an_edit_of_a_config_file_shows_without_resolving_anything(project):
    launch()
    edit("identity", "max_steps: 1500", "max_steps: 1600")
    edit("audio", "motion_frames: 2", "motion_frames: 3")
    assert sorted(edits(grid(), Path("runs"))) == [
        "model.motion_frames was 2, is 3 (experiments/small/audio.yaml); the runs are those of before",
        "trainer.max_steps was 1500, is 1600 (experiments/small/identity.yaml); the runs are those of before",
    ]
    Path("experiments/small/identity.yaml").unlink()
    assert any("phase was identity, is nothing" in line for line in edits(grid(), Path("runs")))


def test_a_fork_is_a_grid_of_its_own_and_leaves_the_old_one(project):
    launch()
    before = Path("runs/ways/meaning.json").read_text()
    write_page(overrides={"trainer.max_steps": 300})
    assert forked(grid(), "short", keep=False).name == "short"
    assert not Path("experiments/grids/short.yaml").exists()
    fork = forked(grid(), "short")
    launch(fork)
    assert fork == read(Path("experiments/grids/short.yaml"))
    assert fork.folder(Path("runs")) == Path("runs/short")
    assert Path("runs/ways/meaning.json").read_text() == before
    assert forked(grid(), "short") == fork
    write_page(overrides={"trainer.max_steps": 400})
    with pytest.raises(UsageError, match="short.yaml is there and says something else"):
        forked(grid(), "short")
    for odd in ("../x", "x" * 201):
        with pytest.raises(UsageError, match=f"--fork is '{odd}'; expected a plain name"):
            forked(grid(), odd)


def test_provenance_is_that_of_the_first_launch(project, monkeypatch):
    write(project / "data/tiny/dataset.json", '{"arguments": {"takes": 7}, "fingerprint": "one"}')
    launch()
    file = Path("runs/ways/provenance.json")
    first = json.loads(file.read_text())
    assert first["data"] == {"data/tiny": {"arguments": {"takes": 7}, "fingerprint": "one"}}
    assert {"torch", "python", "lightning"} <= first["versions"].keys()
    assert Path("runs/ways/diff.patch").is_file()
    launch()
    assert json.loads(file.read_text()) == first
    other = first | {"code": {"commit": "0" * 40, "diff": "of another day"}}
    file.write_text(json.dumps(other))
    launch()
    assert json.loads(file.read_text()) == other | {"later": [first["code"]]}


@pytest.mark.parametrize(
    "text",
    ["{", "[" * 100_000, "[]", '{"arms": 5}', '{"arms": {"adaln": 5}, "files": {}}', '{"arms": {}, "files": {"a": 3}}'],
)
def test_a_damaged_record_says_what_to_do(project, text):
    Path("runs/ways").mkdir(parents=True)
    Path("runs/ways/meaning.json").write_text(text)
    with pytest.raises(UsageError, match=r"meaning.json is damaged; put it back, or remove it and launch again"):
        edits(grid(), Path("runs"))


def test_a_damaged_provenance_says_what_to_do(project):
    launch()
    Path("runs/ways/provenance.json").write_text('{"code": "x", "later": 5}')
    with pytest.raises(UsageError, match=r"provenance.json is damaged; put it back"):
        launch()


def test_a_config_file_that_cannot_be_read_any_more_is_an_edit(project):
    launch()
    write(project / "experiments/small/identity.yaml", "[" * 3000)
    assert any("all of it was nothing, is not YAML" in line for line in edits(grid(), Path("runs")))
