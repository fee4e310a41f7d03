"""What the data say to the grid's question, a plain sentence for each metric that decides."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

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
) -> list[dict[str, Any]]:
    """For each metric that decides: the best arm, those that it is better than, those even with it, and a sentence.

    Differences from the baseline are those of the column, others those among all pairs.
    """
    by_metric = {question.metric: question for question in questions}
    return [
        _verdict(by_metric[metric], _of_metric(metric, column, pairs), baseline)
        for metric in deciding
        if metric in by_metric
    ]


Known = Mapping[frozenset[str], Contrast]
"""The contrast that speaks for each pair of arms."""


def _of_metric(metric: str, column: Sequence[Contrast], pairs: Sequence[Contrast]) -> Known:
    return {frozenset((c.arm, c.against)): c for c in [*pairs, *column] if c.metric == metric}


def _verdict(question: Question, known: Known, baseline: str | None) -> dict[str, Any]:
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
        "sentence": _sentence(question, known, baseline, below, size),
    }


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
    return f"{counted(clips, 'clip')}, {counted(seeds, 'seed')} an arm"
