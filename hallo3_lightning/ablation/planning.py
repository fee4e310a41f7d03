"""From a grid to jobs: the whole config and the folder of each run, after those of the runs that it starts from."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from hallo3_lightning.ablation import meaning, runs
from hallo3_lightning.ablation.caching import caching_job, with_cache
from hallo3_lightning.ablation.evaluating import evaluation_job
from hallo3_lightning.ablation.grid import SEED, Arm, Grid, Run
from hallo3_lightning.ablation.jobs import Job
from hallo3_lightning.errors import UsageError, unknown

BOTH_PHASES = ("model.backbone", "model.inputs", "model.encoders", "model.identity", "model.motion_frames")
"""Settings of which a phase must have the values of the one before: with others it is another network, or another task."""

CONDITIONS = ("identity", "audio")
"""Settings of the model that name strategies."""

SCORING = ("model.sampling", "model.init_from", "model.seed", "model.average_decay", "model.trainable")
"""Settings of the model that a run which only scores may have to itself."""


def plan(grid: Grid, selected: Sequence[Run], root: Path) -> list[Job]:
    """A job for each selected run, after one for each run that it starts from, and before its evaluation.

    Every arm is resolved and checked, whatever is selected. Raises UsageError for a grid that would compare nothing.
    """
    configs = arm_configs(grid, root)
    planned = _Planned(grid, root)
    own = [_job(planned, run, configs[run.arm.name]) for run in selected]
    protocol = grid.protocol_file
    scored = [] if protocol is None else [evaluation_job(job, protocol) for job in own]
    return [*planned.above.values(), *own, *scored]


def arm_configs(grid: Grid, root: Path) -> dict[str, dict[str, Any]]:
    """Arm -> the whole config of its run with the grid's first seed."""
    _refuse_no_baseline(grid)
    configs = {arm.name: _config(grid, arm, root) for arm in grid.arms}
    _refuse_the_same(grid, configs)
    return configs


@dataclass
class _Planned:
    """A plan in the making."""

    grid: Grid
    root: Path
    above: dict[Path, Job] = field(default_factory=dict)
    """What others start from or read, in the order in which they are made."""


def _config(grid: Grid, arm: Arm, root: Path) -> dict[str, Any]:
    from hallo3_lightning.conditioning.conditioner import NONE, strategies  # takes seconds, as resolving does

    placing = {
        "run.root": str(grid.folder(root)),
        "run.name": arm.name,
        "run.ancestors": str(root),
        "run.evaluate": True,
    }
    try:
        config = meaning.resolve(grid.base, {**grid.overrides, **arm.settings, **placing, SEED: grid.seeds[0]})
        for kind in CONDITIONS:
            strategies(kind, config["model"].get(kind, NONE))
    except UsageError as error:
        raise UsageError(f"{grid.path}, arm '{arm.name}': {error}") from None
    layers = meaning.ancestor(config)
    if layers is not None:
        _check_ancestor(grid, layers)
        for key in grid.ancestors or ():
            _refuse_unknown(grid, key, config)
            _refuse_unknown(grid, key, meaning.resolve(layers, {}))
        reached = _reached(grid, root, layers, config)
        if reached != layers:
            config["model"]["init_from"] = reached
        _refuse_another_ancestor(grid, arm, config)
    return with_cache(config, root) if grid.cache else config


def _reached(grid: Grid, root: Path, layers: Sequence[str], config: Mapping[str, Any]) -> list[str]:
    """The layers of what a run starts from, with the settings that the grid lets reach it; and so on, through what that
    starts from in turn, as far as phases have them.

    Only settings that change something are written down, so that an arm which leaves all as it was shares its ancestor
    with other grids.
    """
    from hallo3_lightning.training.settings import as_typed

    above = meaning.resolve(layers, {})
    shared = [key for key in grid.ancestors or () if _has(config, key) and _has(above, key)]
    changes = {key: _at(config, key) for key in shared if _at(config, key) != _at(above, key)}
    if grid.cache:
        changes["data.cache"] = with_cache(above, root)["data"]["cache"]
    further = meaning.ancestor(above)
    if further is not None:
        typed = _reached(grid, root, further, meaning.resolve(layers, changes))
        changes |= {"model.init_from": typed} if typed != further else {}
    return [*layers, *(as_typed(key, value) for key, value in changes.items())]


def _job(planned: _Planned, run: Run, arm: Mapping[str, Any]) -> Job:
    from hallo3_lightning.training.settings import as_typed, with_seed

    config = with_seed(arm, run.seed)
    layers = meaning.ancestor(config)
    if layers is not None and meaning.scores_only(config) and meaning.resolve(layers, {})[SEED] != run.seed:
        # nothing of this run is trained by its own seed: what it scores is
        config["model"] = {**config["model"], "init_from": [*layers, as_typed(SEED, run.seed)]}
    folder = runs.named(config, root=planned.grid.folder(planned.root), name=run.arm.name)
    return Job(run.name, folder, config, needs=_needs(planned, config))


def _needs(planned: _Planned, config: Mapping[str, Any]) -> Job | None:
    """The last job of those that must be done before a run, each made once for all that share it."""
    layers = meaning.ancestor(config)
    needs = None if layers is None else _ancestor(planned, layers)
    if not planned.grid.cache:
        return needs
    job = caching_job(config, planned.root)
    known = planned.above.setdefault(job.folder.path, job)
    if known is job:
        known.needs = (
            needs  # a job waits for one other: where a run has a cache of its own, it comes after the ancestor
        )
    return needs if needs is not None and _comes_after(needs, known) else known


def _comes_after(job: Job | None, other: Job) -> bool:
    while job is not None and job is not other:
        job = job.needs
    return job is other


def _ancestor(planned: _Planned, layers: Sequence[str]) -> Job:
    """The job for the run that another starts from."""
    config = meaning.resolve(layers, {"run.root": str(planned.root), "run.ancestors": str(planned.root)})
    folder = runs.named(config, root=planned.root)
    if folder.path not in planned.above:
        needs = _needs(planned, config)
        planned.above[folder.path] = Job(folder.path.name, folder, config, needs)
    return planned.above[folder.path]


def _check_ancestor(grid: Grid, layers: Sequence[str]) -> None:
    """Configs name what they start from as seen from the project's folder: said here, where somebody is elsewhere."""
    lost = next((file for file in meaning.files_of(layers) if not Path(file).is_file()), None)
    if lost is None:
        return
    homes = [folder for folder in grid.path.resolve().parents if (folder / lost).is_file()]
    do = f"run this from {homes[0]}" if homes else "run this from the folder above experiments/, or mend its name"
    raise UsageError(f"{grid.path} starts from {lost}, which is not in {Path.cwd()}; {do}")


def _refuse_no_baseline(grid: Grid) -> None:
    if grid.baseline is None and len(grid.arms) > 1:
        arms = ", ".join(arm.name for arm in grid.arms)
        raise UsageError(
            f"{grid.path} has no 'baseline'; name the arm that the others are held against, one of: {arms}"
        )


def _refuse_the_same(grid: Grid, configs: Mapping[str, Mapping[str, Any]]) -> None:
    """Two arms of one hash would be compared with each other's seeds, and found equal."""
    seen: dict[str, Arm] = {}
    for arm in grid.arms:
        twin = seen.setdefault(meaning.fingerprint(configs[arm.name]), arm)
        if twin is arm:
            continue
        keys = [
            key
            for key in {**twin.settings, **arm.settings}
            if (key in twin.settings, twin.settings.get(key)) != (key in arm.settings, arm.settings.get(key))
        ]
        raise UsageError(
            f"{grid.path}: arms '{twin.name}' and '{arm.name}' are the same run: {' and '.join(keys)} "
            f"{'has' if len(keys) == 1 else 'have'} no effect on results there; drop one of the arms or vary another key"
        )


def _refuse_another_ancestor(grid: Grid, arm: Arm, config: Mapping[str, Any]) -> None:
    """An arm must not change, of what it starts from, what that was trained for."""
    layers = meaning.ancestor(config)
    assert layers is not None
    own, before = meaning.flat(config), meaning.flat(meaning.resolve(layers, {}))
    alone = meaning.scores_only(config)
    for key in {**grid.overrides, **arm.settings}:
        for leaf in (leaf for leaf in own if leaf == key or leaf.startswith(f"{key}.")):
            bound = _within(leaf, ("model",)) and not _within(leaf, SCORING) if alone else _within(leaf, BOTH_PHASES)
            if not bound or own[leaf] == before.get(leaf) or (not alone and grid.ancestors is not None):
                continue
            raise UsageError(
                f"{grid.path}: arm '{arm.name}' has {leaf} {own[leaf]!r}, and the run that it starts from "
                f"({' + '.join(meaning.files_of(layers))}) {before.get(leaf)!r}; give it the same with "
                f"ancestors: [{key}]" + ("" if alone else ", or say ancestors: [] if that is what you compare")
            )


def _within(key: str, groups: Sequence[str]) -> bool:
    return any(key == group or key.startswith(f"{group}.") for group in groups)


def _refuse_unknown(grid: Grid, key: str, config: Mapping[str, Any]) -> None:
    if not _has(config, key):
        known = meaning.flat(config)
        raise unknown("setting", key, known, f"a run of phase {config['phase']}; {grid.path}, key 'ancestors'")


def _has(config: Mapping[str, Any], key: str) -> bool:
    group, _, last = key.rpartition(".")
    inside = _at(config, group) if group else config
    return isinstance(inside, Mapping) and last in inside


def _at(config: Mapping[str, Any], key: str) -> Any:
    value: Any = config
    for part in key.split("."):
        value = value.get(part) if isinstance(value, Mapping) else None
    return value
