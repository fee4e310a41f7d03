"""The comparison of a grid's results as one page of plain values: what tables, reports and comparison.json are made of."""

import math
from collections.abc import Iterable, Mapping, Sequence
from statistics import fmean, stdev
from typing import Any

from hallo3_lightning.ablation.controls import above_control
from hallo3_lightning.ablation.differences import ClipQuestion, Contrast, Question, against, among
from hallo3_lightning.ablation.grid import Arm, Grid
from hallo3_lightning.ablation.numerals import listed
from hallo3_lightning.ablation.results import Result, identities_of
from hallo3_lightning.ablation.set_distances import SetQuestion, is_of_sets
from hallo3_lightning.ablation.verdict import verdicts
from hallo3_lightning.errors import UsageError, unknown
from hallo3_lightning.evaluation.rows_file import GENERATED
from hallo3_lightning.evaluation.statistics import mean, who_is_known

TRUE = "real"
"""Source of the scores of true clips, which what is neither better large nor small is to be near to."""

DRAWS = 199
"""Of clips, for intervals and p of distances of sets."""


def compared(grid: Grid, results: Sequence[Result], missing: Mapping[str, str], draws: int = DRAWS) -> dict[str, Any]:
    """The contents of comparison.json: finite numbers, null where there is none.

    draws: of clips for distances of sets such as FID, each of which costs as much as two distances an arm and seed; 0 leaves
    their differences out.
    """
    results = sorted(results, key=lambda result: result.seed)
    by_arm = {arm.name: found for arm in grid.arms if (found := [r for r in results if r.arm == arm.name])}
    known = [*dict.fromkeys(name for result in results for name in result.report["metrics"])]
    deciding = _deciding(grid, known, results)
    baseline, note = _baseline(grid, by_arm)
    questions = _questions(by_arm, draws)
    column = [] if baseline is None else against(questions, baseline, deciding)
    pairs = among(questions, deciding)
    arms = [_arm(grid, arm, by_arm[arm.name]) for arm in grid.arms if arm.name in by_arm]
    _add_differences(arms, column)
    _add_marks(arms, questions, pairs, column)
    return {
        "grid": grid.name,
        "question": grid.question,
        "why": grid.why,
        "stamps": [*dict.fromkeys(r.stamp for r in results if r.stamp)],
        "baseline": baseline,
        "decide_by": deciding,
        "verdicts": verdicts(
            questions, column, pairs, baseline, deciding, {a["name"]: a["above_control"] for a in arms}
        ),
        "notes": note,
        "arms": arms,
        "controls": _controls(results),
        "claimed": _claimed(grid, known),
        "people": _people(results),
        "protocol": results[0].report["protocol"],
        "runs": {r.name: {"arm": r.arm, "seed": r.seed, "folder": r.folder.path.name} for r in results},
        "missing": dict(missing),
    }


def _deciding(grid: Grid, known: Sequence[str], results: Sequence[Result]) -> list[str]:
    """The metrics that the verdict is about: those that the grid names, else the first that scores clips."""
    chosen = []
    for name in grid.decide_by:
        found = _named(name, known)
        if not found:
            raise unknown("metric", name, known, f"what the runs of {grid.path} were scored by, for its 'decide_by'")
        if len(found) > 1:
            raise UsageError(f"{grid.path}: 'decide_by' says {name}, of which there are {listed(found)}; name one")
        chosen += found
    of_clips = [name for name in known if any(r.scores(name) for r in results)]
    return chosen or [*of_clips, *known][:1]


def _named(name: str, known: Sequence[str]) -> list[str]:
    """The metrics that a name means: that one, or those of the file that are told with a variant or an origin."""
    return [name] if name in known else [metric for metric in known if name in metric.split("/")]


def _claimed(grid: Grid, known: Sequence[str]) -> dict[str, dict[str, Any]]:
    """Arm -> metric -> value and source; under the column that it belongs to where there is one."""
    return {
        arm: {
            (found[0] if len(found := _named(name, known)) == 1 else name): vars(claim) for name, claim in told.items()
        }
        for arm, told in grid.claimed.items()
    }


def _baseline(grid: Grid, by_arm: Mapping[str, Sequence[Result]]) -> tuple[str | None, list[str]]:
    """The arm that differences are to, and what is to be said of it."""
    if len(by_arm) < 2:
        return grid.baseline if grid.baseline in by_arm else None, ["There is one arm: nothing to compare it with."]
    if grid.baseline is None:
        first = next(iter(by_arm))
        return first, [f"The grid names no baseline: differences are to its first arm, {first}."]
    if grid.baseline not in by_arm:
        return None, [f"No run of the baseline, {grid.baseline}, is finished: there are no differences to it yet."]
    return grid.baseline, []


def _people(results: Sequence[Result]) -> str:
    """How far it is known which clips show the same person, in words."""
    clips = {clip for r in results for (source, _), told in r.scored.metrics.items() if source == GENERATED
             for clip in told.scores}  # fmt: skip
    return who_is_known(sorted(clips), identities_of(results))


def _questions(by_arm: Mapping[str, Sequence[Result]], draws: int) -> list[Question]:
    """Every metric, in the order of the reports; an arm of which a seed has no score is left out."""
    results = [result for found in by_arm.values() for result in found]
    questions: list[Question] = []
    for name in dict.fromkeys(name for result in results for name in result.report["metrics"]):
        told = next(r.report["metrics"][name] for r in results if name in r.report["metrics"])
        known = {
            arm: found for arm, found in by_arm.items() if all(_value(r, name, GENERATED) is not None for r in found)
        }
        if known and is_of_sets(told):
            questions.append(SetQuestion(name, known, draws))
        elif known:
            scores = {arm: [r.scores(name) for r in found] for arm, found in known.items()}
            true = next((rows for r in results if (rows := r.scores(name, TRUE))), {})
            questions.append(ClipQuestion(name, told["higher_is_better"], scores, true, identities_of(results)))
    return questions


def _arm(grid: Grid, arm: Arm, results: Sequence[Result]) -> dict[str, Any]:
    facts = {
        key: _mean(r.facts.get(key) for r in results)
        for key in ("trainable_parameters", "total_parameters", "steps", "seconds")
    }
    metrics = _spreads(results, GENERATED)
    return {
        "name": arm.name,
        "settings": {**grid.overrides, **arm.settings},
        "seeds": [r.seed for r in results],
        "metrics": metrics,
        "controls": _controls(results),
        "above_control": above_control(results),
        "above_control_by_seed": {str(r.seed): above_control([r]) for r in results},
        "clips": max((told["clips"] for told in metrics.values()), default=0),
        **{key: value if key == "seconds" or value is None else round(value) for key, value in facts.items()},
    }


def _spreads(results: Sequence[Result], source: str) -> dict[str, dict[str, Any]]:
    """Metric -> mean and spread over seeds, its 95 % interval over clips and seeds, and how many clips have a score."""
    told = {name: about for r in results for name, about in r.report["metrics"].items()}
    spreads = {}
    for name, about in told.items():
        values = [value for r in results if (value := _value(r, name, source)) is not None]
        if values:
            spreads[name] = {
                "mean": fmean(values),
                "std": stdev(values) if len(values) > 1 else None,
                "n": len(values),
                "values": values,
                **_coverage(results, name, source),
                **_interval(results, name, source),
                "unit": about["unit"],
                "higher_is_better": about["higher_is_better"],
                "target": None
                if about["higher_is_better"] is not None
                else TRUE
                if _is_true_known(results, name)
                else "0",
            }
    return spreads


def _is_true_known(results: Sequence[Result], name: str) -> bool:
    return any(result.scores(name, TRUE) for result in results)


def _value(result: Result, name: str, source: str) -> float | None:
    """The run's own number: a mean over clips, or a distance of sets."""
    about = result.report["metrics"].get(name, {})
    if is_of_sets(about):
        return about["value"] if source == GENERATED else about["real"]["value"] if source == "real" else None
    scores = result.scores(name, source)
    return fmean(scores.values()) if scores else None


def _coverage(results: Sequence[Result], name: str, source: str) -> dict[str, Any]:
    """clips: with a score from every seed, or in every seed's set; coverage: share of the clips that are looked at."""
    found = [r.scored.metrics[source, name] for r in results if (source, name) in r.scored.metrics]
    if not found:
        return {"clips": 0, "coverage": None}
    scored = [_scored(metric.scores, metric.unscored) for metric in found]
    asked = sum(len(metric.scores) + len(metric.unscored) for metric in found)
    return {"clips": len(set.intersection(*scored)), "coverage": sum(map(len, scored)) / asked if asked else None}


def _scored(scores: Mapping[str, float], unscored: Mapping[str, str]) -> set[str]:
    from hallo3_lightning.evaluation.published_metric import IN_SET

    return {*scores, *(clip for clip, status in unscored.items() if status == IN_SET)}


def _interval(results: Sequence[Result], name: str, source: str) -> dict[str, float | None]:
    runs = [scores for r in results if (scores := r.scores(name, source))]
    if not runs or not set.intersection(*(set(rows) for rows in runs)):
        return {"low": None, "high": None}
    found = mean(runs, identities_of(results))
    return {"low": _finite(found.low), "high": _finite(found.high)}


def _controls(results: Sequence[Result]) -> dict[str, Any]:
    """Source -> metric -> its numbers, of every source beside what was generated."""
    sources = dict.fromkeys(source for r in results for source, _ in r.scored.metrics if source != GENERATED)
    return {source: _spreads(results, source) for source in sources}


def _add_differences(arms: Sequence[dict[str, Any]], column: Sequence[Contrast]) -> None:
    """Into each arm's metrics, "difference" to the baseline."""
    of_arm = {arm["name"]: arm["metrics"] for arm in arms}
    for contrast in column:
        told = {name: _finite(value) for name, value in vars(contrast.difference).items()}
        size = None if contrast.corrected is None else _finite(contrast.findable)
        more = {"corrected_p": contrast.corrected, "findable": size}
        of_arm[contrast.arm][contrast.metric]["difference"] = {**told, **more}


def _add_marks(
    arms: Sequence[dict[str, Any]], questions: Sequence[Question], pairs: Sequence[Contrast], column: Sequence[Contrast]
) -> None:
    """Into each arm's metrics that decide, "mark": best, or even with the best, as far as these clips and seeds can tell."""
    if len(arms) < 2:
        return
    of_arm = {arm["name"]: arm["metrics"] for arm in arms}
    told = {(c.metric, frozenset((c.arm, c.against))): c.found for c in [*pairs, *column]}
    deciding = {contrast.metric for contrast in pairs}
    for question in questions:
        if question.metric in deciding:
            best, *others = question.ranked
            of_arm[best][question.metric]["mark"] = "best"
            for arm in others:
                if not told.get((question.metric, frozenset((best, arm))), False):
                    of_arm[arm][question.metric]["mark"] = "even"


def _mean(values: Iterable[Any]) -> float | None:
    known = [float(value) for value in values if value is not None]
    return fmean(known) if known else None


def _finite(value: Any) -> Any:
    """NaN and infinity, of which JSON knows nothing, as null."""
    return None if isinstance(value, float) and not math.isfinite(value) else value
