"""What the data say to the grid's question, a plain sentence for each metric that decides."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

from hallo3_lightning.ablation.controls import beats
from hallo3_lightning.ablation.differences import POWER, Contrast, Question
from hallo3_lightning.ablation.numerals import counted, listed, number, p_value, words

BETTER = {True: "above", False: "below", None: "nearer to its target than"}

FEW = 4
"""Degrees of freedom below which it is the seeds that leave a difference open, whatever the clips."""

ONE_SEED = (
    "With one seed an arm this is about these very networks: of equal arms that are trained once each, about a third "
    "are called different."
)


def verdicts(
    questions: Sequence[Question],
    column: Sequence[Contrast],
    pairs: Sequence[Contrast],
    baseline: str | None,
    deciding: Sequence[str],
    above_control: Mapping[str, Mapping[str, Mapping[str, Any]]],
) -> list[dict[str, Any]]:
    """For each metric that decides: the best arm, those that it is better than, those even with it, and a sentence.

    Differences from the baseline are those of the column, others those among all pairs. above_control: arm -> metric ->
    by how much it beats its control.
    """
    by_metric = {question.metric: question for question in questions}
    return [
        _verdict(
            by_metric[metric],
            _of_metric(metric, column, pairs),
            baseline,
            {arm: gains[metric] for arm, gains in above_control.items() if metric in gains},
        )
        for metric in deciding
        if metric in by_metric
    ]


Gains = Mapping[str, Mapping[str, Any]]
"""By how much each arm beats its control, of those that have one."""

Known = Mapping[frozenset[str], Contrast]
"""The contrast that speaks for each pair of arms."""


def _of_metric(metric: str, column: Sequence[Contrast], pairs: Sequence[Contrast]) -> Known:
    return {frozenset((c.arm, c.against)): c for c in [*pairs, *column] if c.metric == metric}


def _verdict(question: Question, known: Known, baseline: str | None, gains: Gains) -> dict[str, Any]:
    best, *others = question.ranked
    below = [arm for arm in others if (pair := known.get(frozenset((best, arm)))) is not None and pair.found]
    size = max((contrast.findable for contrast in known.values()), default=math.nan)
    return {
        "metric": question.metric,
        "found": any(contrast.found for contrast in known.values()),
        "best": best,
        "better_than": below,
        "even": [arm for arm in others if arm not in below],
        "findable": size if math.isfinite(size) else None,
        "beat_control": [arm for arm in question.ranked if beats(gains[arm])] if _all_have(question, gains) else None,
        "sentence": " ".join([*_no_skill(question, gains), _sentence(question, known, baseline, below, size)]),
    }


def _all_have(question: Question, gains: Gains) -> bool:
    return all(arm in gains for arm in question.ranked)


def _no_skill(question: Question, gains: Gains) -> list[str]:
    """Of arms that do not beat their control, what is to be known before any difference between them."""
    if not _all_have(question, gains) or beats(gains[question.ranked[0]]):
        return []
    metric = words(question.metric)
    control = f"{words(gains[question.ranked[0]]['control'])} control"
    if any(beats(gain) for gain in gains.values()):
        return [f"Careful: {question.ranked[0]} is no better than its {control} in {metric}."]
    if len(question.ranked) == 1:
        return [f"{question.ranked[0]} does not beat its {control} in {metric}."]
    return [f"No arm beats its {control} in {metric}: how they differ there says nothing of skill."]


def _sentence(question: Question, known: Known, baseline: str | None, below: Sequence[str], size: float) -> str:
    best, *others = question.ranked
    metric = words(question.metric)
    if not known:
        return f"{metric.capitalize()} says nothing of a difference: {_why_none(question)}."
    elsewhere = [c for c in known.values() if c.found and best not in (c.arm, c.against)]
    if not below and not elsewhere:
        sentence = f"No difference found between {listed(question.ranked)} in {metric}; {_could(known, size)}"
    else:
        sentence = _found(question, known, baseline, below, elsewhere)
    return " ".join([sentence, *[ONE_SEED] * any(c.difference.seeds == 1 for c in known.values())])


def _why_none(question: Question) -> str:
    alone = len(question.ranked) < 2
    return f"{question.ranked[0]} alone has a score" if alone else "no clip is scored, or no feature kept, in all arms"


def _found(
    question: Question, known: Known, baseline: str | None, below: Sequence[str], elsewhere: Sequence[Contrast]
) -> str:
    best, *others = question.ranked
    parts = [f"{BETTER[question.better]} {arm} by {_gap(known[frozenset((best, arm))])}" for arm in below]
    even = [arm for arm in others if arm not in below]
    if even:
        parts.append(f"not distinguishable from {listed(even)}")
    parts += [f"{c.arm} less {c.against} is {_gap(c, signed=True)}" for c in elsewhere]
    name = f"{best}, the baseline," if best == baseline else best
    return f"{name} is best in {words(question.metric)}: {'; '.join(parts)} ({_design(known)})."


def _gap(contrast: Contrast, signed: bool = False) -> str:
    """Size, interval and p; unless it is signed, of the better less the worse."""
    d = contrast.difference
    ends = (d.mean, d.low, d.high) if signed or d.mean >= 0 else (-d.mean, -d.high, -d.low)
    middle, low, high = (number(end, signed=signed) for end in ends)
    return f"{middle} [{low}, {high}], corrected p {p_value(contrast.corrected)}"


def _could(known: Known, size: float) -> str:
    """What would have been found."""
    if math.isfinite(size):
        found = f"could have found a difference of {number(size)} or more with {100 * POWER:.0f} % power"
        few = min(contrast.difference.freedom for contrast in known.values()) < FEW
        return f"this design ({_design(known)}) {found}{', and with more seeds a smaller one' if few else ''}."
    return f"this design ({_design(known)}) could have found none, however large: it has too few clips or identities."


def _design(known: Known) -> str:
    """The smallest numbers of any pair."""
    clips, seeds = (min(getattr(c.difference, what) for c in known.values()) for what in ("clips", "seeds"))
    people = min(getattr(c.difference, "identities", clips) for c in known.values())
    shown = f" of {people} people" if 1 < people < clips else ""
    return f"{counted(clips, 'clip')}{shown}, {counted(seeds, 'seed')} an arm"
