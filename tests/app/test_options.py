"""Fields of the page are the options of `hallo3 animate`, and say the same."""

import argparse

import pytest

from hallo3_lightning.app.options import ASKED_ABOVE, THE_PAGES, options_of, typed
from hallo3_lightning.verbs import animate

NEEDED = ["--image=a", "--audio=b", "--weights=c", "--out=d"]


@pytest.fixture(scope="module")
def parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(add_help=False)
    animate.add_arguments(parser)
    return parser


def test_every_option_is_a_field_or_the_pages_own(parser):
    known = vars(parser.parse_args(NEEDED)).keys()
    assert {option.name for option in options_of(parser)} == known - {*ASKED_ABOVE, *THE_PAGES}
    assert {*ASKED_ABOVE, *THE_PAGES} <= known


def test_fields_left_alone_type_nothing(parser):
    options = options_of(parser)
    assert typed(options, {option.name: option.default for option in options}) == []
    assert typed(options, {option.name: False if option.kind == "switch" else "" for option in options}) == []


@pytest.mark.parametrize(
    ("name", "value", "parsed"),
    [
        ("steps", "7", 7),
        ("guidance_text", "2.5", 2.5),
        ("guidance", "0", 0.0),
        ("seed", "3", 3),
        ("reuse", "0.25", 0.25),
        ("compile", True, True),
        ("loop", "published", "published"),
        ("audio_context_frames", "all", "all"),
        ("face", "-5,-5,40,40", "-5,-5,40,40"),
        ("config", "a.yaml\n\nb c.yaml", ["a.yaml", "b c.yaml"]),
        ("video_encoder", "--out", "--out"),
    ],
)
def test_a_field_is_typed_as_its_option(parser, name, value, parsed):
    options = options_of(parser)
    values = {option.name: option.default for option in options} | {name: value}
    assert getattr(parser.parse_args([*NEEDED, *typed(options, values)]), name) == parsed


def test_help_of_a_field_names_its_default(parser):
    helps = {option.name: option.help for option in options_of(parser)}
    assert "(0)" in helps["seed"]
    assert not any("%(" in text for text in helps.values())
