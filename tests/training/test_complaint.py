"""The parser's complaints in our words; behaviour/test_mistakes.py has the parser itself say them."""

import pytest

from hallo3_lightning.training.complaint import sentence

KNOWN = ["trainer", "trainer.max_steps", "model", "model.audio", "model.backbone", "model.backbone.width", "run.root"]


@pytest.mark.parametrize(
    ("said", "ours"),
    [
        (
            "unrecognized arguments: --trainer.max_stepz=2 --b",
            "no setting 'trainer.max_stepz'; did you mean 'trainer.max_",
        ),
        (
            "Subcommand 'fit' does not accept option 'model.audoi'",
            "no setting 'model.audoi'; did you mean 'model.audio'?",
        ),
        ("unrecognized arguments: --width", "no setting 'width'; did you mean 'model.backbone.width'?"),
        ("unrecognized arguments: --nothing.like.it", "no setting 'nothing.like.it'; there are: model, run, trainer"),
        ("Parser key \"a.b\": Expected a <class 'float'>. Got value: x", "a.b is 'x'; expected a number"),
        (
            'Parser key "model.backbone": Unable to load config "5"',
            "model.backbone is '5'; expected a mapping of width",
        ),
        (
            "the following arguments are required: fit.data.shards",
            "data.shards is not set; give it on the command line",
        ),
        ("something\n  never seen   before", "something never seen before"),
    ],
)
def test_a_complaint_is_one_sentence_in_our_words(said, ours):
    found = sentence(said, KNOWN)
    assert found.startswith(ours)
    assert "\n" not in found


def test_the_rest_of_the_group_is_listed():
    assert sentence("unrecognized arguments: --model.audoi", KNOWN).endswith("there are: model.audio, model.backbone")
