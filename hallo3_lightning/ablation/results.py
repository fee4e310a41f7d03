"""What a grid's finished runs say: their own test, or their evaluation under a protocol, read from their folders."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

from hallo3_lightning.ablation.evaluating import EVALUATIONS
from hallo3_lightning.ablation.grid import Grid
from hallo3_lightning.ablation.meaning import flat
from hallo3_lightning.ablation.places import Place, places
from hallo3_lightning.ablation.report_file import evaluation_report, facts_of, mapping_of, own_report
from hallo3_lightning.ablation.runs import RunFolder
from hallo3_lightning.errors import UsageError
from hallo3_lightning.evaluation import rows_file
from hallo3_lightning.evaluation.rows_file import GENERATED, Metric, Scored

CEILINGS = ("reconstruction", "real")
"""Sources of clips that are a ceiling: what the autoencoder alone leaves of the truth, and the truth."""


GOVERNED = {
    "guidance": "model.sampling.guidance",
    "sampler_steps": "model.sampling.steps",
    "sampler": "model.sampling.sampler",
    "frames": "data.eval_frames",
    "clips": "data.test_clips",
}
"""Parts of the protocol of a run's own test, and the setting that each follows."""

ACCELERATIONS = ("model.sampling.", "trainer.precision")
"""Settings of a run that its own test generates clips under."""

GENERATION = "generation.json"
"""Beside an evaluation's clips: how they were generated."""

CHOSEN = {
    "guidance": "model.sampling.guidance",
    "sampling_steps": "model.sampling.steps",
    "sampler": "model.sampling.sampler",
    "precision": "trainer.precision",
    "given_frames": "model.motion_frames",
    "frames": "data.eval_frames",
    "data": "data.shards",
    "step": "trainer.max_steps",
}
"""Parts of an evaluation's generation, and the setting that each follows."""

OF_EACH_RUN = ("run", "seed", "device")
"""What is recorded of a generation, and may differ."""


@dataclass(frozen=True)
class Result:
    """A finished run and its scores.

    place: the folder that holds metrics.json, the run's or an evaluation's; config: empty where the run's is gone.
    """

    arm: str
    seed: int
    folder: RunFolder
    place: Path
    report: Mapping[str, Any]
    facts: Mapping[str, Any]
    scored: Scored
    config: Mapping[str, Any] = field(default_factory=dict)

    @property
    def name(self) -> str:
        return f"{self.arm}-seed{self.seed}"

    @property
    def stamp(self) -> str | None:
        """What makes these numbers no scores, if anything does."""
        return self.report.get("stamp")

    def scores(self, metric: str, source: str = GENERATED) -> Mapping[str, float]:
        """Clip -> score; empty where nothing of that source was scored."""
        found = self.scored.metrics.get((source, metric))
        return {} if found is None else found.scores


def identities_of(results: Sequence[Result]) -> dict[str, str]:
    """Clip -> whom it shows, of the clips of which some run says it."""
    return {clip: who for result in reversed(results) for clip, who in result.scored.identities.items()}


def collect(grid: Grid, root: Path, protocol: str | None = None) -> tuple[list[Result], dict[str, str]]:
    """The finished runs, and why each of the others is missing.

    protocol: a name or file as of `hallo3 evaluate`; default the grid's, and where it names none the runs' own test.
    """
    chosen = protocol or (None if grid.protocol_file is None else str(grid.protocol_file))
    results, missing = [], {}
    for place in places(grid, root):
        found = _result(place, chosen)
        if isinstance(found, Result):
            results.append(found)
        else:
            missing[place.run.name] = found
    return results, missing


def _result(place: Place, protocol: str | None) -> Result | str:
    """The run's result, or why there is none."""
    folder = place.folder
    if folder is None:
        return "not launched with these settings"
    status = folder.status()
    if status.state != "finished":
        return f"{status.state} at step {status.step} of {status.max_steps} {status.error}".strip()
    facts = facts_of(folder.path / "facts.json")
    if facts is None:
        return f"finished, but {folder.path / 'facts.json'} is gone or damaged; remove the run's folder to run it again"
    scores = _own_test(folder) if protocol is None else _evaluation(folder, protocol)
    if isinstance(scores, str):
        return scores
    where, report, scored = scores
    try:
        config = _config(folder)
    except UsageError as error:
        return f"finished, but {error}; remove the run's folder to run it again"
    return Result(place.run.arm.name, place.run.seed, folder, where, report, facts, scored, config)


def _config(folder: RunFolder) -> Mapping[str, Any]:
    """Empty where it is gone. Raises UsageError where it is damaged."""
    if not folder.config_file.exists():
        return {}
    return _read_config(folder, folder.config_file.stat().st_mtime_ns)


@cache
def _read_config(folder: RunFolder, changed_ns: int) -> Mapping[str, Any]:
    """Once a process while it stays as it is: YAML takes its time, and a comparison reads its grid's runs again for the
    board."""
    if not folder.config_file.is_file():
        raise UsageError(f"{folder.config_file} is a folder")
    return folder.config()


Scores = tuple[Path, Mapping[str, Any], Scored]
"""Folder, contents of metrics.json, rows."""


def _own_test(folder: RunFolder) -> Scores | str:
    file = folder.path / "metrics.json"
    report = own_report(file)
    if report is None:
        return f"finished, but {file} is gone or damaged; remove it and the run is tested again"
    return folder.path, report, _of_report(report)


def _evaluation(folder: RunFolder, protocol: str) -> Scores | str:
    from hallo3_lightning.evaluation.recipe import read_recipe

    recipe = read_recipe(protocol)
    where = folder.path / EVALUATIONS / recipe.id
    again = f"`hallo3 evaluate {folder.path} --protocol {protocol}`"
    if not (where / "metrics.json").exists():
        return f"not evaluated under {recipe.id}; {again} does it"
    report = evaluation_report(where / "metrics.json")
    if report is None:
        return f"{where / 'metrics.json'} is damaged; remove it, and {again} writes it again"
    if report["protocol"]["hash"] != recipe.hash:
        then = f"{report['protocol']['hash']}, and it is now {recipe.name}"
        return f"evaluated under {recipe.id} as it was: {then}; move {where} aside, and {again} does it anew"
    try:
        return where, report, rows_file.read(where)
    except UsageError as error:
        return f"evaluated under {recipe.id}, but {error}; move {where} aside, and {again} does it anew"


def _of_report(report: Mapping[str, Any]) -> Scored:
    """The rows of a run's test."""
    found = Scored(identities=dict(report.get("identities", {})))
    for source, by_metric in report["rows"].items():
        about = report["metrics"] if source == GENERATED else report["controls"].get(source, {})
        for name, scores in by_metric.items():
            told = about.get(name, {"unit": "", "higher_is_better": None})
            count = report["missing"].get(source, {}).get(name, 0)
            unscored = {f"unscored {i}": rows_file.UNSCORED for i in range(count)}
            found.metrics[source, name] = Metric(
                name, source, told["unit"], told["higher_is_better"], dict(scores), unscored
            )
    return found


def check_comparable(grid: Grid, results: Sequence[Result]) -> None:
    """Raise a UsageError where runs differ in what a table must have in common, and say which.

    That is the protocol, the number of steps trained, the step that was evaluated, and the sampler's settings and
    accelerations that clips were generated under. What the grid's arms set is what it compares, and may differ.
    """
    chosen = set(grid.axes)
    for what, by_run in (
        ("protocols", {r.name: _protocol(r, chosen) for r in results}),
        ("numbers of steps", {r.name: str(r.facts["steps"]) for r in results if "trainer.max_steps" not in chosen}),
        ("samplers or accelerations", {r.name: made for r in results if (made := _generation(r, chosen)) is not None}),
    ):
        if len(set(by_run.values())) > 1:
            values = _without_common(by_run)
            groups = "; ".join(
                f"{value}: {', '.join(name for name in values if values[name] == value)}"
                for value in dict.fromkeys(values.values())
            )
            raise UsageError(
                f"these runs have different {what} and cannot stand in one table: {groups}; run the odd ones again"
            )


def _protocol(result: Result, chosen: set[str]) -> str:
    """Id and hash; id and all else that it says, where the arms choose some of it."""
    told = result.report["protocol"]
    governed = {field for field, key in GOVERNED.items() if key in chosen and field in told}
    if not governed:
        return f"{told.get('id')} {told['hash']}"
    return ", ".join(f"{key} {value}" for key, value in told.items() if key not in {*governed, "hash"})


def _generation(result: Result, chosen: set[str]) -> str | None:
    """What the clips were generated under, a line a setting; None where nothing says it."""
    if result.place == result.folder.path:
        told = _of_config(result)
    else:
        made = mapping_of(result.place / GENERATION) or {}
        told = {CHOSEN.get(key, key): value for key, value in made.items() if key not in OF_EACH_RUN}
    kept = {key: value for key, value in told.items() if key not in chosen}
    return "\n".join(f"{key} {json.dumps(value)}" for key, value in sorted(kept.items())) if told else None


def _of_config(result: Result) -> dict[str, Any]:
    return {key: value for key, value in flat(result.config).items() if key.startswith(ACCELERATIONS)}


def _without_common(by_run: Mapping[str, str]) -> dict[str, str]:
    """Many settings a run, less the lines that all have: what is left tells them apart."""
    lines = {name: text.splitlines() for name, text in by_run.items()}
    common = set.intersection(*(set(told) for told in lines.values()))
    return {name: ", ".join(line for line in told if line not in common) or "none" for name, told in lines.items()}
