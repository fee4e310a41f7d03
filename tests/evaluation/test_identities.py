"""Whom clips show: from the sample of a shard to the statistics of a comparison and of strata."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch

from datamodules.clip import cut
from datamodules.synthetic.take import make_take
from hallo3_lightning.batch import Batch, joined
from hallo3_lightning.evaluation.arms import arms_of
from hallo3_lightning.evaluation.identities import Identities
from hallo3_lightning.evaluation.rows_file import known_of, lines_of, read
from hallo3_lightning.evaluation.statistics import by_person, mean
from hallo3_lightning.evaluation.strata import stratified

CPU = torch.device("cpu")


def gathered(batch: Batch) -> dict[str, str]:
    found = Identities()
    found.see(batch, CPU)
    return found.known()


@pytest.mark.parametrize(
    ("said", "known"),
    [("anna", "anna"), ("Zoë " * 50, None), (17, "17"), ("", ""), ("two\nlines", ""), (["anna"], ""), (None, "")],
)
def test_a_sample_says_whom_its_clips_show(said, known):
    sample = make_take(1, 0, frames=9, size=16)
    first = cut(replace(sample, facts={**sample.facts, "identity": said}), 0, 0, 5, 0)
    second = cut(replace(sample, key="other", facts={**sample.facts, "identity": said}), 1, 4, 5, 0)
    found = gathered(joined([first, second]).rows(torch.tensor([1, 0])))
    if known == "":
        assert found == {}
    else:
        assert found.keys() == {sample.key, "other@4"}
        assert len({*found.values()}) == 1
        assert known is None or {*found.values()} == {known}


def test_nobody_is_known_of_batches_that_do_not_say(tmp_path):
    assert gathered(Batch(keys=("a",))) == {}
    assert Identities().known() == {}


@pytest.mark.parametrize(
    ("clips", "identities", "groups"),
    [
        (["a", "b", "c"], {"a": "x", "c": "x"}, [[0, 2], [1]]),
        (["a", "a@33", "b"], {}, [[0, 1], [2]]),
        (["k@one.tar", "k@two.tar"], {}, [[0], [1]]),
        (["x", "b"], {"b": "x"}, [[0], [1]]),
    ],
)
def test_clips_are_put_together_by_person_else_by_sample(clips, identities, groups):
    assert by_person(clips, identities) == groups


def test_a_test_writes_whom_clips_show_and_it_is_read(tmp_path):
    report = {
        "protocol": {"id": "t", "hash": "0"},
        "metrics": {"psnr": {"unit": "dB", "higher_is_better": True}},
        "controls": {},
        "rows": {"generated": {"psnr": {"a": 1.0, "b": 2.0}}},
        "identities": {"a": "anna"},
    }
    (tmp_path / "rows.jsonl").write_text("\n".join(lines_of(report, {})))
    assert read(tmp_path).identities == {"a": "anna"}


def test_a_users_file_may_say_it(tmp_path):
    own = tmp_path / "own.jsonl"
    own.write_text('{"clip": "a", "identity": "anna"}\n{"clip": "b", "identity": "anna", "yaw": 3}\n')
    known = known_of(own, ["a"])
    assert (known.identities, known.conditions) == ({"a": "anna", "b": "anna"}, {"yaw": {"b": 3.0}})


def test_strata_count_people(tmp_path):
    draw, scores = np.random.default_rng(0), {}
    lines = []
    for number in range(60):
        person, clip = number % 6, f"c{number}"
        scores[clip] = float(person + 0.01 * draw.normal())
        lines.append({"clip": clip, "identity": f"p{person}", "conditions": {"yaw": 3.0}})
        lines.append({"clip": clip, "metric": "sync", "value": scores[clip], "higher_is_better": True})
    (tmp_path / "rows.jsonl").write_text("".join(f"{json.dumps(line)}\n" for line in lines))
    found = arms_of([str(tmp_path)])
    (score,) = stratified(found, "yaw").scores.values()
    assert score.interval == mean([scores], {clip: f"p{int(clip[1:]) % 6}" for clip in scores})
    assert found.who == "60 clips count as 6 people"
