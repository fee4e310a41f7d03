"""Protocols in YAML: what each setting may hold, and the sentence that refuses the rest."""

import pytest

from hallo3_lightning.errors import UsageError
from hallo3_lightning.evaluation.recipe import read_recipe

LINES = {"id": "x-1.2_b", "version": "1", "about": "a", "metrics": "[sharpness/laplacian]"}


def written(folder, **lines) -> str:
    """A protocol's file, of YAML by setting."""
    file = folder / "p.yaml"
    file.write_text("".join(f"{key}: {value}\n" for key, value in {**LINES, **lines}.items()))
    return str(file)


def test_every_setting_is_read(tmp_path):
    found = read_recipe(
        written(
            tmp_path,
            data="{name: any, least: 3}",
            frames="17",
            resolution="[64, 96]",
            crop="stretch",
            generation="{seeds: [0, 3], guidance: 2.5, steps: null, note: as told}",
            choices="[one, two]",
        )
    )
    assert (found.name, found.metrics) == (f"x-1.2_b v1 ({found.hash})", ("sharpness/laplacian",))
    assert (found.frames, found.resolution, found.crop, found.fps) == (17, (64, 96), "stretch", 25)
    assert found.generation == {"seeds": [0, 3], "guidance": 2.5, "steps": None, "note": "as told"}
    assert found.choices == ("one", "two")


@pytest.mark.parametrize(
    ("setting", "value"),
    [
        *(("metrics", value) for value in ("5", "[]", "[1]", "[null]", "[[a, b]]", "fid/pytorch_fid", "{a: 1}", "[a, a]")),
        *(("resolution", value) for value in ("5", "0", "ab", "[]", "[true, true]", "[1000000, 1000000]", "[64, 0]")),
        *(("choices", value) for value in ("abc", "5", "[{a: b}]")),
        *(("frames", value) for value in ("true", "17.0", "0", "-3", "ab")),
        *(("fps", value) for value in ("24", "25.0", "null")),
        *(("crop", value) for value in ("null", "[crop]", "strech")),
        *(("version", value) for value in ("[1]", "0", "true", "1.5", "null")),
        *(("about", value) for value in ("{a: b}", "null")),
        *(("id", value) for value in ("../../evil", "/tmp/evil", "..", "null", "[a]", '""', '"a\\0b"', '"[red]x"', "-rf")),
        ("id", "a" * 65),
        *(("data", value) for value in ("null", "abc", "[a]")),
        *(("generation", value) for value in ("null", "[a]")),
    ],
)  # fmt: skip
def test_what_a_setting_is_and_should_be_is_said(tmp_path, setting, value):
    with pytest.raises(UsageError, match=rf"p\.yaml: {setting} is .*; expected ") as caught:
        read_recipe(written(tmp_path, **{setting: value}))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("setting", "value"),
    [
        ("data", "{when: 2020-01-01}"),
        ("data", "{a: .nan}"),
        ("data", '{a: "\\ud800"}'),
        ("generation", "{1: 2, b: 3}"),
        ("resolution", "{1: 2, 3: 4}"),
    ],
)
def test_values_that_no_json_holds_are_refused(tmp_path, setting, value):
    with pytest.raises(UsageError, match=rf"p\.yaml: {setting} has a value that is none of text, numbers"):
        read_recipe(written(tmp_path, **{setting: value}))


@pytest.mark.parametrize(
    ("key", "value"),
    [*(("seeds", value) for value in ("0", "[a]", "[]", "[true]", "[-1]")),
     ("steps", "abc"), ("steps", "-1"), ("steps", "0"), ("guidance", "strong"), ("guidance", "true")],
)  # fmt: skip
def test_what_a_run_is_generated_with_is_checked(tmp_path, key, value):
    with pytest.raises(UsageError, match=rf"p\.yaml: {key} of generation is .*; expected .*, or null"):
        read_recipe(written(tmp_path, generation=f"{{{key}: {value}}}"))


def test_a_setting_that_is_given_twice_is_refused(tmp_path):
    file = tmp_path / "p.yaml"
    file.write_text("".join(f"{key}: {value}\n" for key, value in LINES.items()) + "id: y\n")
    with pytest.raises(UsageError, match="key 'id' is given twice"):
        read_recipe(str(file))
