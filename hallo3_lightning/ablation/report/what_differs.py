"""In what the arms differ: every setting that is not the same in all of them, what they train, and what they cost."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from hallo3_lightning.ablation.meaning import flat, results_of
from hallo3_lightning.ablation.results import Result
from hallo3_lightning.ablation.status import duration

SEEDS = ("seed_everything", "model.seed", "data.seed")
"""Differ from run to run of one arm."""

FACTS = ("trainable_parameters", "total_parameters")


@dataclass(frozen=True)
class Difference:
    """What it is, and its value in each arm, in their order."""

    name: str
    values: tuple[str, ...]


def differences(arms: Sequence[str], results: Sequence[Result]) -> list[Difference]:
    """Settings as the runs' own configs say them, then parameters and cost; all of each arm's first run.

    Parameters and cost stand there also where they are equal.
    """
    firsts = [next(result for result in results if result.arm == arm) for arm in arms]
    settings = [_settings(result) for result in firsts]
    keys = dict.fromkeys(key for known in settings for key in known)
    rows = [
        Difference(key, tuple(_text(known.get(key)) for known in settings)) for key in keys if _differs(key, settings)
    ]
    for fact in FACTS:
        counts = [result.facts.get(fact) for result in firsts]
        rows.append(Difference(fact.replace("_", " "), tuple("" if n is None else f"{n:,}" for n in counts)))
    return [*rows, *_costs(arms, results)]


def _settings(result: Result) -> Mapping[str, Any]:
    """Of what changes results, apart from seeds; empty where the run's config is gone or is not whole."""
    try:
        known = flat(results_of(result.config))
    except (LookupError, AttributeError, TypeError):
        return {}
    return {key: value for key, value in known.items() if key not in SEEDS}


def _differs(key: str, settings: Sequence[Mapping[str, Any]]) -> bool:
    return len({_text(known.get(key)) for known in settings}) > 1


def _text(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, default=str)


def _costs(arms: Sequence[str], results: Sequence[Result]) -> list[Difference]:
    """Time of training, mean over seeds."""
    spent, rates = [], []
    for arm in arms:
        known = [r.facts for r in results if r.arm == arm and r.facts.get("seconds") is not None]
        seconds = sum(facts["seconds"] for facts in known)
        spent.append(duration(seconds / len(known)) if known else "")
        steps = sum(facts["steps"] for facts in known)
        rates.append(f"{1000 * seconds / steps:.0f}" if steps else "")
    return [Difference("time of training", tuple(spent)), Difference("milliseconds a step", tuple(rates))]
