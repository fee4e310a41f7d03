"""What `animate()` says of its settings, before it reads anything."""

import sys
from typing import Any

import pytest

from hallo3_lightning.errors import UsageError
from hallo3_lightning.film.animate import _request, animate


def of(tmp_path, **settings: Any):
    return _request("i.png", "a.wav", tmp_path, settings)


@pytest.mark.parametrize(
    ("name", "value", "expected"),
    [
        ("loop", "foo", "Literal['exact', 'published']"),
        ("blend_frames", 1.5, "int | None"),
        ("steps", "many", "int | None"),
        ("guidance", "x", "float | None"),
        ("motion_frames", 2.0, "int | None"),
        ("max_memory", 5, "str | None"),
        ("prompt", 5, "str | None"),
        ("compile", "maybe", "bool"),
        ("seed", "a", "int"),
        ("seed", True, "int"),
        ("device", 0, "str | None"),
        ("face", (1, 2, 3, 4), "str"),
        ("configs", "x.yaml", "tuple[str, ...]"),
        ("reuse", "much", "float"),
    ],
)
def test_a_value_of_another_kind_is_refused_in_one_sentence(tmp_path, name, value, expected):
    with pytest.raises(UsageError) as refused:
        animate("i.png", "a.wav", tmp_path, **{name: value})
    assert str(refused.value) == f"animate() was given {name}={value!r}; expected {expected}"


def test_what_can_be_read_as_typed_is_taken_so(tmp_path):
    told = of(
        tmp_path, steps="3", guidance=3, compile="no", seed="7", loop="published", reuse="0.1", configs=["x.yaml"]
    )
    assert (told.changes.steps, told.changes.guidance, told.compile, told.seed) == (3, 3.0, False, 7)
    assert (told.loop, told.shortcuts.reuse, told.configs) == ("published", 0.1, ("x.yaml",))


@pytest.mark.parametrize("prompt", ["null", "~", "", "3", "[a, b]", "a: b # c"])
def test_a_prompt_is_taken_by_the_letter(tmp_path, prompt):
    assert of(tmp_path, prompt=prompt).prompt == prompt


def test_who_has_no_standard_output_can_animate(tmp_path, monkeypatch):
    monkeypatch.setattr(sys, "stdout", None)  # as in a program with windows, or without a terminal
    with pytest.raises(UsageError, match="no weights at"):
        animate("i.png", "a.wav", tmp_path)
