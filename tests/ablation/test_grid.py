"""Grid files: what they expand to, and which mistakes are refused with which sentence."""

from datetime import date
from pathlib import Path

import pytest
import yaml

from hallo3_lightning.ablation.grid import read, word
from hallo3_lightning.errors import UsageError


def written(tmp_path: Path, **page) -> Path:
    """A grid file beside a base config, in the folders that experiments/ has."""
    grids = tmp_path / "grids"
    grids.mkdir(exist_ok=True)
    (tmp_path / "tiny").mkdir(exist_ok=True)
    (tmp_path / "tiny" / "audio.yaml").write_text("phase: audio\n")
    file = grids / "page.yaml"
    file.write_text(yaml.safe_dump({"base": ["tiny/audio.yaml"], **page}, sort_keys=False))
    return file


AXES = {"model.audio": ["cross_attention", "adaln"], "model.motion_frames": [0, 2, 4]}


def test_arms_are_the_product_of_the_axes_with_readable_names(tmp_path):
    grid = read(written(tmp_path, axes=AXES, seeds=[3, 1], question="Why?", baseline="adaln,motion_frames=2"))
    assert [arm.name for arm in grid.arms] == [
        "cross_attention,motion_frames=0",
        "cross_attention,motion_frames=2",
        "cross_attention,motion_frames=4",
        "adaln,motion_frames=0",
        "adaln,motion_frames=2",
        "adaln,motion_frames=4",
    ]
    assert grid.arms[4].settings == {"model.audio": "adaln", "model.motion_frames": 2}
    assert grid.axes == ["model.audio", "model.motion_frames"]
    assert (grid.name, grid.question, grid.baseline) == ("page", "Why?", "adaln,motion_frames=2")
    assert grid.base == (tmp_path / "tiny" / "audio.yaml",)


def test_runs_are_arms_by_seeds_with_all_overrides(tmp_path):
    grid = read(written(tmp_path, axes=AXES, seeds=[3, 1], overrides={"trainer.max_steps": 7}))
    runs = grid.runs()
    assert len(runs) == 12
    assert [run.seed for run in runs] == [3] * 6 + [1] * 6
    assert runs[6].name == "cross_attention,motion_frames=0-seed1"
    assert runs[6].overrides == {
        "trainer.max_steps": 7,
        "model.audio": "cross_attention",
        "model.motion_frames": 0,
        "seed_everything": 1,
    }
    assert [run.name for run in grid.runs(["adaln,motion_frames=4"], [1])] == ["adaln,motion_frames=4-seed1"]


def test_hand_picked_arms_stand_beside_the_axes(tmp_path):
    axes = {"model.audio": ["adaln"]}
    grid = read(written(tmp_path, axes=axes, arms={"small": {"model.audio": "none", "model.backbone.width": 32}}))
    assert [arm.name for arm in grid.arms] == ["adaln", "small"]
    assert grid.seeds == (0,)
    alone = read(written(tmp_path, arms={"one": {"a": 1}, "two": {"a": 2}}))
    assert [arm.name for arm in alone.arms] == ["one", "two"]


def test_a_word_used_on_two_axes_says_which(tmp_path):
    grid = read(written(tmp_path, axes={"model.audio": ["none", "adaln"], "model.identity": ["none", "face"]}))
    assert [a.name for a in grid.arms] == [
        "audio=none,identity=none",
        "audio=none,face",
        "adaln,identity=none",
        "adaln,face",
    ]


@pytest.mark.parametrize(
    ("value", "name"),
    [
        ("conditioning.audio.adaln", "adaln"),
        ("a+b", "a+b"),
        (["a", "b"], "a+b"),
        ({"class_path": "torch.optim.AdamW", "init_args": {}}, "AdamW"),
        (None, "none"),
        (True, "true"),
        ("../../etc/pass wd", "pass_wd"),
        (1e-4, "0.0001"),
    ],
)
def test_words_are_safe_as_folder_names(value, name):
    assert word(value) == name


def test_baseline_by_value(tmp_path):
    grid = read(written(tmp_path, axes={"model.motion_frames": [0, 2]}, baseline=2))
    assert grid.baseline == "motion_frames=2"


@pytest.mark.parametrize(
    ("page", "sentence"),
    [
        ({"axis": {}}, "no key 'axis' in .*did you mean 'axes'"),
        ({"axes": AXES, "base": []}, "has no 'base'"),
        ({"axes": AXES, "base": ["tiny/adio.yaml"]}, "no base config 'tiny/adio.yaml'.*did you mean 'tiny/audio.yaml'"),
        ({}, "neither 'axes' nor 'arms'"),
        ({"arms": {"a" * 201: {"m": 1}}}, "the name of arm 'a{40}...' has 201 letters.*expected 200 at most"),
        (
            {"axes": {f"m.{'k' * 50}{i}": [1] for i in range(4)}},
            "name of arm .* has 2.. letters.*shorter one under 'arms'",
        ),
        ({"axes": {"m": [*range(1001)]}, "seeds": [0, 1]}, r"2002 runs \(1001 arms x 2 seeds\); expected 2000 at most"),
        (
            {"axes": {f"m{i}": [*range(1000)] for i in range(9)}},
            "0 runs .*; expected 2000 at most: ask it as several grids",
        ),
        ({"axes": {"model.audio": []}}, "axis 'model.audio' is \\[\\]"),
        ({"axes": {"model.audio": "adaln"}}, "axis 'model.audio' is 'adaln'; expected a list"),
        ({"axes": {"model.audio": ["a", "a"]}}, "two arms have the same name: a"),
        ({"axes": {"m": ["a"]}, "arms": {"b": {"m": "a"}}}, "two arms have the same settings"),
        ({"axes": AXES, "baseline": "adalm"}, "no arm 'adalm' in .*key 'baseline'"),
        ({"axes": AXES, "seeds": [0, 0]}, "'seeds' is \\[0, 0\\]"),
        ({"axes": AXES, "seeds": 3}, "'seeds' is 3; expected a list"),
        ({"axes": ["model.audio"]}, "'axes' is \\['model.audio'\\]; expected a mapping"),
        ({"arms": {"a/b": {"m": 1}}}, "arm 'a/b'"),
        ({"axes": AXES, "base": 5}, "'base' is 5; expected config files"),
        ({"axes": AXES, "base": [None]}, "'base' is \\[None\\]; expected config files"),
        ({"axes": {"m": ["a", date(2024, 1, 2)]}}, "'m' in 'axes' has .*2024.*quote a date"),
        ({"arms": {"b": {"m": date(2024, 1, 2)}}}, "'m' in arm 'b' has .*2024"),
        ({"axes": AXES, "overrides": {"m": float("nan")}}, "'m' in 'overrides' has nan"),
        ({"axes": {5: ["a"]}}, "key 5 in 'axes' is no config key"),
        ({"axes": {"seed_everything": [1, 2]}}, "'axes' sets seed_everything; give the grid's 'seeds'"),
        ({"axes": AXES, "seeds": [-1]}, "'seeds' is \\[-1\\]"),
        ({"axes": AXES, "seeds": [2**32]}, "'seeds' is \\[4294967296\\]"),
        ({"axes": AXES, "seeds": [True]}, "'seeds' is \\[True\\]"),
    ],
)
def test_mistakes_are_refused_with_one_sentence(tmp_path, page, sentence):
    with pytest.raises(UsageError, match=sentence) as caught:
        read(written(tmp_path, **page))
    assert "\n" not in str(caught.value)


def test_missing_file_names_the_nearest(tmp_path):
    file = written(tmp_path, axes=AXES)
    with pytest.raises(UsageError, match=r"did you mean '.*page.yaml'"):
        read(file.with_name("pages.yaml"))
    file.write_text("axes: [")
    with pytest.raises(UsageError, match="is not YAML"):
        read(file)


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        (b"axes: {m: [a]}\nseeds: [0]\naxes: {m: [b]}\n", "key 'axes' is given twice.*line 3"),
        (b"axes:\n  m: [a]\n  m: [b]\n", "key 'm' is given twice.*line 3"),
        (b"axes: {m: [2024-13-45]}\n", "is not YAML: month"),
        ("question: où?\n".encode("latin-1"), "not text in UTF-8 \\(byte 11\\)"),
        (b"axes: " + b"[" * 3000, "nested too deeply"),
        (rb'question: "\e[31m red"', r"'question' holds '\\x1b\[31m red', with a control character; write plain text"),
        (rb'axes: {m: [{a: "b\0"}]}', "'axes' holds .*with a control character"),
    ],
)
def test_text_that_is_no_grid_is_refused(tmp_path, text, sentence):
    file = written(tmp_path)
    file.write_bytes(text)
    with pytest.raises(UsageError, match=sentence) as caught:
        read(file)
    assert "\n" not in str(caught.value)


def test_a_merged_mapping_may_be_overridden(tmp_path):
    file = written(tmp_path)
    file.write_text("base: [tiny/audio.yaml]\narms:\n  a: &a {m: 1, n: 2}\n  b: {<<: *a, n: 3}\n")
    assert [arm.settings for arm in read(file).arms] == [{"m": 1, "n": 2}, {"m": 1, "n": 3}]


def test_wrong_arm_and_seed_list_the_right_ones(tmp_path):
    grid = read(written(tmp_path, axes={"model.audio": ["adaln"]}, seeds=[0, 1]))
    with pytest.raises(UsageError, match="no arm 'adalm'.*did you mean 'adaln'"):
        grid.runs(only=["adalm"])
    with pytest.raises(UsageError, match="no seed '7'.*there are: 0, 1"):
        grid.runs(seeds=[7])
