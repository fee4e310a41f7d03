"""Pages of grids: one over another, what each key may hold, and the sentence that refuses the rest."""

from pathlib import Path

import pytest
import yaml

from hallo3_lightning.ablation.grid import Claim, read
from hallo3_lightning.ablation.page import is_grid, name_of
from hallo3_lightning.errors import UsageError

AXES = {"model.audio": ["cross_attention", "adaln"]}


def written(folder: Path, name: str = "page.yaml", **page) -> Path:
    """A grid file in the folders that experiments/ has."""
    for kind in ("tiny", "full"):
        (folder / kind).mkdir(parents=True, exist_ok=True)
        (folder / kind / "audio.yaml").write_text("phase: audio\n")
    (folder / "protocols").mkdir(exist_ok=True)
    (folder / "protocols" / "strict-v1.yaml").write_text("id: strict-v1\n")
    file = folder / "grids" / name
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(yaml.safe_dump(page, sort_keys=False))
    return file


def test_a_page_over_another_says_only_what_differs(tmp_path):
    under = written(
        tmp_path,
        question="Which way?",
        base=["tiny/audio.yaml"],
        axes=AXES,
        arms={"small": {"model.backbone.width": 32}},
        overrides={"trainer.max_steps": 7, "model.motion_frames": 2},
        seeds=[0, 1],
        baseline="adaln",
    )
    over = written(
        tmp_path,
        "full/page.yaml",
        extends="../page.yaml",
        base=["full/audio.yaml"],
        overrides={"trainer.max_steps": 900},
        arm_overrides={"adaln": {"model.dropout.audio": 0.2}},
        seeds=[5],
    )
    grid, plain = read(over), read(under)
    assert (grid.question, grid.baseline, grid.seeds) == ("Which way?", "adaln", (5,))
    assert grid.base == (tmp_path / "full" / "audio.yaml",)
    assert plain.base == (tmp_path / "tiny" / "audio.yaml",)
    assert grid.overrides == {"trainer.max_steps": 900, "model.motion_frames": 2}
    assert [arm.name for arm in grid.arms] == ["cross_attention", "adaln", "small"]
    assert grid.arms[1].settings == {"model.audio": "adaln", "model.dropout.audio": 0.2}
    assert plain.arms[1].settings == {"model.audio": "adaln"}
    assert (grid.name, plain.name) == ("full-page", "page")
    assert grid.folder(tmp_path) != plain.folder(tmp_path)


def test_pages_go_on_over_several_and_in_no_circle(tmp_path):
    written(tmp_path, "a.yaml", base="tiny/audio.yaml", axes=AXES, question="Which?")
    written(tmp_path, "b.yaml", extends="a.yaml", seeds=[1])
    assert read(written(tmp_path, "c.yaml", extends="b.yaml", why="So.")).seeds == (1,)
    written(tmp_path, "a.yaml", extends="c.yaml")
    with pytest.raises(UsageError, match=r"c.yaml extends b.yaml, which extends it in turn"):
        read(tmp_path / "grids" / "b.yaml")
    with pytest.raises(UsageError, match=r"no grid file '.*d.yaml'.*did you mean"):
        read(written(tmp_path, "a.yaml", extends="d.yaml"))


def test_a_page_says_why_by_what_and_what_others_claim(tmp_path):
    claimed = {"adaln": {"sync_c": {"value": 7, "source": "a paper, table 2"}}}
    grid = read(
        written(
            tmp_path,
            base="tiny/audio.yaml",
            axes=AXES,
            why="Because\nof this.\n",
            ancestors=["model.motion_frames"],
            cache=True,
            protocol="strict-v1",
            decide_by=["mouth_correlation", "sync_c/joonson"],
            strata=["yaw"],
            claimed=claimed,
        )
    )
    assert (grid.why, grid.ancestors, grid.cache) == ("Because\nof this.", ("model.motion_frames",), True)
    assert (grid.protocol, grid.strata) == ("strict-v1", ("yaw",))
    assert grid.decide_by == ("mouth_correlation", "sync_c/joonson")
    assert grid.claimed == {"adaln": {"sync_c": Claim(7.0, "a paper, table 2")}}
    bare = read(written(tmp_path, base="tiny/audio.yaml", axes=AXES))
    assert (bare.why, bare.ancestors, bare.cache, bare.protocol) == ("", None, False, None)
    assert read(written(tmp_path, base="tiny/audio.yaml", axes=AXES, ancestors=[])).ancestors == ()


@pytest.mark.parametrize(
    ("page", "sentence"),
    [
        ({"arm_overrides": {"adalm": {"m": 1}}}, "no arm 'adalm' in .*key 'arm_overrides'.*did you mean 'adaln'"),
        (
            {"arm_overrides": {"adaln": {"model.audio": "x"}}},
            "'arm_overrides' of adaln sets model.audio, which is an axis",
        ),
        ({"arm_overrides": {"adaln": 5}}, "'arm_overrides' of adaln is 5; expected a mapping"),
        ({"arm_overrides": {"adaln": {"seed_everything": 1}}}, "sets seed_everything; give the grid's 'seeds'"),
        ({"claimed": {"adalm": {}}}, "no arm 'adalm' in .*key 'claimed'"),
        (
            {"claimed": {"adaln": {"sync_c": 7.5}}},
            "'claimed' of adaln, sync_c is 7.5; expected a number and who says it",
        ),
        ({"claimed": {"adaln": {"sync_c": {"value": "7", "source": "x"}}}}, "'claimed' of adaln, sync_c is"),
        ({"decide_by": ["mouth_corelation"]}, "no metric 'mouth_corelation'.*did you mean 'mouth_correlation'"),
        ({"decide_by": 5}, "'decide_by' is 5; expected a list of different words"),
        ({"protocol": "strict"}, "no protocol 'strict' .*did you mean 'strict-v1'"),
        ({"cache": "yes"}, "'cache' is 'yes'; expected true or false"),
        ({"ancestors": {"a": 1}}, "'ancestors' is .*expected a list of different words"),
        ({"strata": ["yaw", "yaw"]}, "'strata' is .*expected a list of different words"),
        ({"question": ["Which?"]}, "'question' is .*expected words"),
        ({"extends": ["a.yaml"]}, "'extends' is .*expected the grid file that this one changes"),
    ],
)
def test_mistakes_are_refused_with_one_sentence(tmp_path, page, sentence):
    with pytest.raises(UsageError, match=sentence) as caught:
        read(written(tmp_path, **{"base": "tiny/audio.yaml", "axes": AXES, **page}))
    assert "\n" not in str(caught.value)


def test_names_hold_the_folders_below_grids():
    assert name_of(Path("experiments/grids/audio.yaml")) == "audio"
    assert name_of(Path("experiments/grids/full/audio.yaml")) == "full-audio"
    assert name_of(Path("elsewhere/audio.yaml")) == "audio"


def test_a_page_that_only_extends_is_a_grid(tmp_path):
    assert is_grid(written(tmp_path, extends="a.yaml"))
    assert not is_grid(tmp_path / "tiny" / "audio.yaml")
    (tmp_path / "deep.yaml").write_text("axes: " + "[" * 3000)
    assert not is_grid(tmp_path / "deep.yaml")
