"""What a grid's finished runs say: means and spreads over seeds, and by how much each arm beats its control."""

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean, stdev
from typing import Any

from hallo3_lightning.ablation.grid import Arm, Grid
from hallo3_lightning.ablation.places import Place, places
from hallo3_lightning.ablation.runs import RunFolder
from hallo3_lightning.errors import UsageError

CEILING = "reconstruction"
"""The control that is a ceiling: what the autoencoder alone leaves of the truth."""


@dataclass(frozen=True)
class Result:
    """A finished run, read from its folder."""

    arm: str
    seed: int
    folder: RunFolder
    report: Mapping[str, Any]
    facts: Mapping[str, Any]

    @property
    def name(self) -> str:
        return f"{self.arm}-seed{self.seed}"


def collect(grid: Grid, root: Path) -> tuple[list[Result], dict[str, str]]:
    """The finished runs, and why each of the others is missing."""
    results, missing = [], {}
    for place in places(grid, root):
        found = _result(place)
        if isinstance(found, Result):
            results.append(found)
        else:
            missing[place.run.name] = found
    return results, missing


def _result(place: Place) -> Result | str:
    """The run's result, or why there is none."""
    folder = place.folder
    if folder is None:
        return "not launched with these settings"
    status = folder.status()
    if status.state != "finished":
        return f"{status.state} at step {status.step} of {status.max_steps} {status.error}".strip()
    report, facts = _read(folder.metrics), _read(folder.facts)
    if report is None or not _well_formed(report):
        return f"finished, but {folder.path / 'metrics.json'} is gone or damaged; remove it and the run is tested again"
    if facts is None or "steps" not in facts:
        return f"finished, but {folder.path / 'facts.json'} is gone or damaged; remove the run's folder to run it again"
    return Result(place.run.arm.name, place.run.seed, folder, report, facts)


def _read(contents: Callable[[], Mapping[str, Any] | None]) -> Mapping[str, Any] | None:
    try:
        page = contents()
    except ValueError:
        return None
    return page if isinstance(page, dict) else None


def _well_formed(report: Mapping[str, Any]) -> bool:
    """Whether it has what a comparison reads, and no number that is none."""
    try:
        summaries = [report["metrics"], *report["controls"].values()]
        numbers = [summary["value"] for metrics in summaries for summary in metrics.values()]
        numbers += [value for rows in report["rows"].values() for row in rows.values() for value in row.values()]
        keys = {"value", "n", "unit", "higher_is_better"}
        whole = all(keys <= summary.keys() for metrics in summaries for summary in metrics.values())
        return whole and "hash" in report["protocol"] and all(map(math.isfinite, numbers))
    except (AttributeError, KeyError, TypeError):
        return False


def check_comparable(results: Sequence[Result]) -> None:
    """Raise a UsageError where runs were scored by other protocols or trained for other numbers of steps."""
    protocols = {
        result.name: f"{result.report['protocol'].get('id')} {result.report['protocol']['hash']}" for result in results
    }
    steps = {result.name: str(result.facts.get("steps")) for result in results}
    for what, by_run in (("protocols", protocols), ("numbers of steps", steps)):
        if len(set(by_run.values())) > 1:
            groups = "; ".join(
                f"{value}: {', '.join(name for name in by_run if by_run[name] == value)}"
                for value in dict.fromkeys(by_run.values())
            )
            raise UsageError(
                f"these runs have different {what} and cannot stand in one table: {groups}; run the odd ones again"
            )


def compared(grid: Grid, results: Sequence[Result], missing: Mapping[str, str]) -> dict[str, Any]:
    """The contents of comparison.json."""
    arms = [_arm(grid, arm, [r for r in results if r.arm == arm.name]) for arm in grid.arms]
    return {
        "grid": grid.name,
        "question": grid.question,
        "baseline": grid.baseline,
        "arms": [arm for arm in arms if arm["seeds"]],
        "controls": _controls(results),
        "protocol": results[0].report["protocol"],
        "missing": dict(missing),
    }


def _arm(grid: Grid, arm: Arm, results: Sequence[Result]) -> dict[str, Any]:
    facts = {
        key: _mean(r.facts.get(key) for r in results)
        for key in ("trainable_parameters", "total_parameters", "steps", "seconds")
    }
    return {
        "name": arm.name,
        "settings": {**grid.overrides, **arm.settings},
        "seeds": [r.seed for r in results],
        "metrics": _spreads([r.report["metrics"] for r in results]),
        "controls": _controls(results),
        "above_control": _above_control(results),
        "above_control_by_seed": {str(r.seed): _above_control([r]) for r in results},
        "clips": max((m["n"] for r in results for m in r.report["metrics"].values()), default=0),
        **{key: value if key == "seconds" or value is None else round(value) for key, value in facts.items()},
    }


def _spreads(reports: Sequence[Mapping[str, Any]]) -> dict[str, dict[str, Any]]:
    """Metric -> mean and spread over seeds of what each run reports; the spread of one seed is null."""
    spreads = {}
    for name in dict.fromkeys(name for report in reports for name in report):
        summaries = [report[name] for report in reports if name in report]
        values = [summary["value"] for summary in summaries]
        spreads[name] = {
            "mean": fmean(values),
            "std": stdev(values) if len(values) > 1 else None,
            "n": len(values),
            "values": values,
            "unit": summaries[0]["unit"],
            "higher_is_better": summaries[0]["higher_is_better"],
        }
    return spreads


def _controls(results: Sequence[Result]) -> dict[str, Any]:
    names = dict.fromkeys(name for r in results for name in r.report["controls"])
    return {name: _spreads([r.report["controls"].get(name, {}) for r in results]) for name in names}


def _above_control(results: Sequence[Result]) -> dict[str, dict[str, Any]]:
    """Metric -> by how much the score beats its control, clip by clip (averaged over seeds first), in standard errors."""
    beats = {}
    rows = [r.report["rows"] for r in results]
    pairs = dict.fromkeys((c, m) for row in rows for c in row if c not in ("generated", CEILING) for m in row[c])
    for control, metric in pairs:
        scores, chances = ([row[source][metric] for row in rows] for source in ("generated", control))
        clips = sorted(set.intersection(*(set(part) for part in [*scores, *chances])))
        gains = [fmean(s[clip] - c[clip] for s, c in zip(scores, chances, strict=True)) for clip in clips]
        if len(gains) < 2:
            continue
        error = stdev(gains) / math.sqrt(len(gains))
        beats[metric] = {
            "control": control,
            "difference": fmean(gains),
            "std_error": error,
            "std_errors": fmean(gains) / error if error else None,
            "clips": len(clips),
        }
    return beats


def _mean(values: Iterable[Any]) -> float | None:
    known = [float(value) for value in values if value is not None]
    return fmean(known) if known else None
