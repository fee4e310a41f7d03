"""Whether arms beat their controls: what a generator without skill would score, as on the sound of another clip."""

from collections.abc import Mapping, Sequence
from statistics import fmean
from typing import Any

from hallo3_lightning.ablation.results import CEILINGS, Result, identities_of
from hallo3_lightning.evaluation.rows_file import GENERATED
from hallo3_lightning.evaluation.statistics import mean

CLEAR = 2.0
"""Standard errors under which a score is not taken to be above its control."""


def above_control(results: Sequence[Result]) -> dict[str, dict[str, Any]]:
    """Metric -> by how much an arm's score beats its control, clip by clip (averaged over seeds first), in standard errors
    over the people whom the clips show."""
    beaten = {}
    for control, metric in dict.fromkeys(pair for r in results for pair in r.scored.metrics if is_control(pair[0])):
        better = next(
            (r.report["metrics"][metric]["higher_is_better"] for r in results if metric in r.report["metrics"]), None
        )
        scores, chances = ([r.scores(metric, source) for r in results] for source in (GENERATED, control))
        clips = sorted(set.intersection(*(set(part) for part in [*scores, *chances])))
        gains = {clip: fmean(s[clip] - c[clip] for s, c in zip(scores, chances, strict=True)) for clip in clips}
        if better is None or not gains or (found := mean([gains], identities_of(results))).identities < 2:
            continue
        gain = found.mean if better else -found.mean
        beaten[metric] = {
            "control": control,
            "difference": gain,
            "std_error": found.std_error,
            "std_errors": gain / found.std_error if found.std_error else None,
            "clips": len(clips),
        }
    return beaten


def is_control(source: str) -> bool:
    """Whether it is a floor of what was generated; not one of true clips, nor a ceiling."""
    return source != GENERATED and source not in CEILINGS and not source.startswith("real")


def differs(gain: Mapping[str, Any]) -> bool:
    """Whether a score is clearly above or below its control."""
    errors = gain["std_errors"]
    return gain["difference"] != 0 if errors is None else abs(errors) >= CLEAR


def beats(gain: Mapping[str, Any]) -> bool:
    """Whether a score is clearly better than its control."""
    return differs(gain) and gain["difference"] > 0
