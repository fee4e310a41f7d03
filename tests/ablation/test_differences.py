"""Which arms are called different, and what is said: through the code that `hallo3 compare` runs."""

import math

import numpy as np
import pytest
from scored import comparison

from benchmarks.aa import Design, arms, identities
from hallo3_lightning.ablation.comparison_page import caption, sentences
from hallo3_lightning.ablation.differences import ClipQuestion, against, findable
from hallo3_lightning.errors import UsageError
from hallo3_lightning.evaluation.statistics import holm, mean, paired


def rows(values) -> dict[str, float]:
    return {f"clip{i:02d}": float(value) for i, value in enumerate(values)}


def around(
    middle: float, seeds: int = 3, clips: int = 12, spread: float = 0.01, seed: int = 0
) -> list[dict[str, float]]:
    """An arm whose clips and seeds scatter little about a middle, each clip the same way under every seed."""
    rng = np.random.default_rng(seed)
    hard = rng.normal(0, 0.1, clips)
    return [rows(middle + hard + np.random.default_rng([seed, k]).normal(0, spread, clips)) for k in range(seeds)]


def told(page: dict, arm: str, metric: str = "mouth_correlation") -> dict:
    return next(one for one in page["arms"] if one["name"] == arm)["metrics"][metric]


def test_the_column_is_paired_with_the_baseline_and_corrected_over_arms_and_deciding_metrics(tmp_path):
    sync = {"a": around(0.53), "b": around(0.51), "base": around(0.5)}
    seam = {"a": around(3.0), "b": around(2.99), "base": around(3.0)}
    aside = {"a": around(9.0), "b": around(8.0), "base": around(7.0)}
    metrics = {"mouth_correlation": (True, sync), "seam": (False, seam), "psnr": (True, aside)}
    page = comparison(tmp_path, metrics, decide_by=["mouth_correlation", "seam"])
    expected = {
        (name, arm): paired(scores[arm], scores["base"]).p
        for name, scores in (("mouth_correlation", sync), ("seam", seam))
        for arm in "ab"
    }
    corrected = {(name, arm): told(page, arm, name)["difference"]["corrected_p"] for name, arm in expected}
    assert corrected == pytest.approx(holm(expected))
    first = paired(sync["a"], sync["base"])
    assert told(page, "a")["difference"]["low"] == pytest.approx(first.low)
    assert told(page, "a", "psnr")["difference"]["p"] == pytest.approx(paired(aside["a"], aside["base"]).p)
    assert told(page, "a", "psnr")["difference"]["corrected_p"] is None
    assert "difference" not in told(page, "base")


def test_the_best_is_named_with_those_that_cannot_be_told_from_it(tmp_path):
    scores = {"low": around(0.3), "high": around(0.6), "twin": around(0.6, seed=1), "base": around(0.45)}
    page = comparison(tmp_path, {"mouth_correlation": (True, scores)})
    verdict = page["verdicts"][0]
    assert verdict["best"] == max(("high", "twin"), key=lambda arm: told(page, arm)["mean"])
    assert set(verdict["better_than"]) == {"low", "base"}
    marks = {arm: told(page, arm).get("mark") for arm in scores}
    assert sorted(mark for mark in marks.values() if mark) == ["best", "even"]
    assert {marks["high"], marks["twin"]} == {"best", "even"}
    gap = told(page, verdict["best"])["difference"]
    assert f"above base by {gap['mean']:.3f} [{gap['low']:.3f}, {gap['high']:.3f}], corrected p " in verdict["sentence"]
    assert f"not distinguishable from {verdict['even'][0]}" in verdict["sentence"]
    assert "(12 clips, 3 seeds an arm)." in verdict["sentence"]


@pytest.mark.parametrize(
    ("better", "middles", "best", "words"),
    [
        (False, {"a": 0.2, "b": 0.5}, "a", "a is best in mouth correlation: below b by 0.300"),
        (
            None,
            {"a": 0.9, "b": -0.2},
            "b",
            "b, the baseline, is best in mouth correlation: nearer to its target than a by 0.698 [0.602, 0.794]",
        ),
    ],
)
def test_lower_and_nearer_to_zero_may_be_better(tmp_path, better, middles, best, words):
    page = comparison(
        tmp_path, {"mouth_correlation": (better, {arm: around(middle) for arm, middle in middles.items()})}
    )
    assert page["verdicts"][0]["best"] == best
    assert page["verdicts"][0]["sentence"].startswith(words)


def test_where_neither_is_better_the_nearer_to_the_true_clip_is():
    hard = rows(np.arange(9.0))
    near, far = (
        [{clip: value + 0.5 for clip, value in hard.items()}],
        [{clip: value - 2 for clip, value in hard.items()}],
    )
    question = ClipQuestion("sharpness/laplacian", None, {"near": near, "far": far}, target=hard)
    assert question.ranked == ["near", "far"]
    assert question.difference("far", "near").mean == pytest.approx(1.5)


def test_no_difference_is_said_with_the_one_that_could_have_been_found(tmp_path):
    page = comparison(
        tmp_path, {"mouth_correlation": (True, {"a": around(0.5), "b": around(0.5, seed=4), "c": around(0.5, seed=5)})}
    )
    verdict = page["verdicts"][0]
    assert verdict["sentence"].startswith("No difference found between ")
    assert f"could have found a difference of {verdict['findable']:.3f} or more with 80 % power" in verdict["sentence"]
    assert "(12 clips, 3 seeds an arm)" in verdict["sentence"]
    assert verdict["better_than"] == []


@pytest.mark.parametrize("clips", [1, 5])
def test_too_few_clips_could_show_nothing(tmp_path, clips):
    """Of five signs, two of 32 choices are as far out as can be: p is 0.0625 at best."""
    page = comparison(
        tmp_path, {"mouth_correlation": (True, {"a": around(0.9, clips=clips), "b": around(0.1, clips=clips)})}
    )
    assert "could have found none, however large: it has too few clips" in page["verdicts"][0]["sentence"]
    assert page["verdicts"][0]["findable"] is None
    if clips == 1:
        assert told(page, "a")["low"] is None


def test_one_seed_is_said_to_be_one(tmp_path):
    page = comparison(tmp_path, {"mouth_correlation": (True, {"a": around(0.6, seeds=1), "b": around(0.5, seeds=1)})})
    assert "1 seed an arm" in page["verdicts"][0]["sentence"]
    assert (
        "of equal arms that are trained once each, about a third are called different"
        in page["verdicts"][0]["sentence"]
    )


def test_one_arm_no_baseline_and_one_that_is_not_finished(tmp_path):
    alone = comparison(tmp_path / "alone", {"mouth_correlation": (True, {"a": around(0.5)})})
    assert alone["notes"] == ["There is one arm: nothing to compare it with."]
    assert "mark" not in told(alone, "a")
    both = {"mouth_correlation": (True, {"a": around(0.9), "b": around(0.5)})}
    unnamed = comparison(tmp_path / "unnamed", both, baseline=None)
    assert unnamed["notes"] == ["The grid names no baseline: differences are to its first arm, a."]
    assert told(unnamed, "b")["difference"]["mean"] < 0
    three = {"mouth_correlation": (True, {"a": around(0.9), "b": around(0.5), "base": []})}
    missing = comparison(tmp_path / "missing", three)
    assert missing["notes"] == ["No run of the baseline, base, is finished: there are no differences to it yet."]
    assert missing["verdicts"][0]["sentence"].startswith("a is best in mouth correlation: above b by 0.4")


def test_equal_arms_are_rarely_called_different_and_planted_effects_are_found(tmp_path):
    """The A/A test, smaller than in test_statistics, from files of runs to verdicts: 24 identities of 2 clips, 3 seeds."""
    rng, names = np.random.default_rng(0), ("mouth_correlation", "seam", "psnr")

    def called(place, effect: float) -> list[bool]:
        pairs = [arms(Design(), effect * (not k), rng) for k in range(len(names))]
        metrics = {name: (True, {"a": pair[0], "b": pair[1]}) for name, pair in zip(names, pairs, strict=True)}
        people = identities(Design())
        said = [verdict["found"] for verdict in comparison(place, metrics, people)["verdicts"]]
        p = {k: paired(first, second, people).p for k, (first, second) in enumerate(pairs)}
        assert said == [one < 0.05 for one in holm(p).values()]
        return said

    assert sum(any(called(tmp_path / f"equal{i}", 0.0)) for i in range(8)) <= 1
    assert sum(called(tmp_path / f"planted{i}", 0.2)[0] for i in range(4)) == 4


def test_a_metric_may_be_named_without_its_variant(tmp_path):
    scores = {"a": around(0.6), "b": around(0.5)}
    metrics = {"sync_c/valid": (True, scores), "sync_d/valid": (False, scores), "sync_d/joonson": (False, scores)}
    claims = {"a": {"sync_c": {"value": 7.5, "source": "a paper"}, "fid": {"value": 20.0, "source": "a paper"}}}
    page = comparison(tmp_path / "one", metrics, decide_by=["sync_c"], claimed=claims)
    assert page["decide_by"] == ["sync_c/valid"]
    assert set(page["claimed"]["a"]) == {"sync_c/valid", "fid"}
    assert "Claimed by a paper, not measured here: fid 20.00 of a." in sentences(page)
    with pytest.raises(UsageError, match=r"'decide_by' says sync_d, .* are sync_d/valid and sync_d/joonson; name one"):
        comparison(tmp_path / "two", metrics, decide_by=["sync_d"])
    with pytest.raises(UsageError, match=r"no metric 'psnr' .*there are: sync_c/valid"):
        comparison(tmp_path / "three", metrics, decide_by=["psnr"])


def test_what_is_said_to_be_findable_is_found_four_times_of_five():
    rng, people = np.random.default_rng(2), identities(Design(identities=12))

    def contrast(effect: float):
        first, second = arms(Design(identities=12), effect, rng)
        return against(
            [ClipQuestion("mouth_correlation", True, {"a": first, "b": second}, identities=people)],
            "b",
            ["mouth_correlation"],
        )[0]

    size = float(np.median([contrast(0.0).findable for _ in range(30)]))
    assert 0.03 < size < 0.3
    assert sum(contrast(size).found for _ in range(60)) >= 0.7 * 60
    assert sum(contrast(size / 2).found for _ in range(30)) <= 0.5 * 30


def test_a_difference_between_others_than_the_best_is_told(tmp_path):
    """The best scatters from seed to seed too much to be told from any, the others do not."""
    wild = [rows(value + 0.01 * np.arange(12)) for value in (0.2, 0.9, 1.0)]
    page = comparison(tmp_path, {"mouth_correlation": (True, {"wild": wild, "b": around(0.6), "base": around(0.3)})})
    verdict = page["verdicts"][0]
    assert (verdict["best"], verdict["better_than"], verdict["found"]) == ("wild", [], True)
    assert "not distinguishable from b and base; b less base is +0.3" in verdict["sentence"]


def test_arms_without_a_common_clip_are_not_told_apart(tmp_path):
    other = [{f"other-{clip}": score for clip, score in seed.items()} for seed in around(0.3)]
    page = comparison(
        tmp_path, {"mouth_correlation": (True, {"a": around(0.6), "other": other, "b": around(0.3, seed=3)})}
    )
    assert [told(page, arm).get("mark") for arm in ("a", "other", "b")] == ["best", "even", None]


@pytest.mark.parametrize(
    ("identities", "people", "words"),
    [
        ({f"clip{i:02d}": f"person {i % 3}" for i in range(12)}, 3, "12 clips count as 3 people"),
        ({f"clip{i:02d}": "one" for i in range(6)}, 7, "6 clips count as 1 person, 6 of which nobody says whom"),
        ({}, 12, "nobody says whom the clips show: each counts as a person of its own"),
    ],
)
def test_clips_of_one_person_are_no_independent_draws(tmp_path, identities, people, words):
    scores = {"a": around(0.53), "base": around(0.5)}
    page = comparison(tmp_path, {"mouth_correlation": (True, scores)}, identities)
    assert told(page, "a")["difference"]["identities"] == people
    assert told(page, "a")["low"] == pytest.approx(mean(scores["a"], identities).low)
    assert words in caption(page)
    design = "(12 clips, 3 seeds" if people == 12 else f"(12 clips of {people} people, 3 seeds"
    assert design in page["verdicts"][0]["sentence"]


def test_more_comparisons_leave_less_to_be_found():
    difference = paired(around(0.5), around(0.5, seed=3))
    sizes = [findable(difference, comparisons) for comparisons in (1, 2, 6)]
    assert sizes == sorted(sizes)
    assert sizes[0] < sizes[2]
    assert findable(difference, 200) == math.inf  # two of 4096 choices of signs, times 200
