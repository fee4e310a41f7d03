"""Scored folders side by side: those of one arm are its seeds, and all must tell of the same clips and conditions."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from hallo3_lightning.errors import UsageError
from hallo3_lightning.evaluation.published_metric import IN_SET
from hallo3_lightning.evaluation.rows_file import GENERATED, Metric, Scored, is_writable, read
from hallo3_lightning.evaluation.statistics import who_is_known

RUN = re.compile(r"(?P<arm>.+)-seed(?P<seed>\d+)-[0-9a-f]{8}")
"""How the folder of a run is named."""

LENGTH = "length"
"""The one condition that may differ: an arm that generates less has shorter pairs."""

SAME = 1e-6
"""Relative: how far one condition of one clip may differ from folder to folder."""


@dataclass(frozen=True)
class Arm:
    """One arm, and its scores seed by seed."""

    name: str
    folders: tuple[Path, ...]
    runs: tuple[Scored, ...]

    def metric(self, source: str, name: str) -> list[Mapping[str, float]]:
        """The scores of a metric, one mapping from clips a seed; [] where a seed has none."""
        found = [run.metrics.get((source, name)) for run in self.runs]
        return [metric.scores for metric in found if metric is not None] if all(found) else []


@dataclass(frozen=True)
class Arms:
    """What is compared: the first arm is the one that others are compared with."""

    arms: tuple[Arm, ...]
    conditions: Mapping[str, Mapping[str, float]]
    identities: Mapping[str, str]
    stamps: tuple[str, ...]
    """What stands on every table and picture made of it."""

    @property
    def clips(self) -> tuple[str, ...]:
        """Those that every folder tells of."""
        return tuple(sorted(set.intersection(*(set(run.clips) for arm in self.arms for run in arm.runs))))

    @property
    def who(self) -> str:
        """How far it is known which clips show the same person, in words."""
        return who_is_known(self.clips, self.identities)

    @property
    def left_out(self) -> int:
        """Clips that some folder tells of, and not every one."""
        return len({clip for arm in self.arms for run in arm.runs for clip in run.clips}) - len(self.clips)

    @property
    def sources(self) -> tuple[str, ...]:
        """Where scores come from; what was generated comes first."""
        found = [source for arm in self.arms for run in arm.runs for source, _ in run.metrics]
        return tuple(dict.fromkeys([GENERATED, *found]))

    def about(self, name: str) -> Metric:
        """What is known of a metric of what was generated."""
        return next(
            run.metrics[GENERATED, name]
            for arm in self.arms
            for run in arm.runs
            if (GENERATED, name) in run.metrics
        )  # fmt: skip

    def is_of_sets(self, name: str) -> bool:
        """Whether a metric is a distance of sets, of which single clips have no score."""
        return IN_SET in self.about(name).unscored.values()

    @property
    def metrics(self) -> tuple[str, ...]:
        """All metrics of what was generated, in the order in which they are told."""
        found = [name for arm in self.arms for run in arm.runs for source, name in run.metrics if source == GENERATED]
        return tuple(dict.fromkeys(found))


def arms_of(given: Sequence[str]) -> Arms:
    """The arms of scored folders, given as FOLDER, a rows.jsonl, or NAME=FOLDER.

    Without a name, runs are named by their folders (`adaln-seed1-1a2b3c4d`, or anything in it, is seed 1 of adaln), and
    other folders by themselves. Raises UsageError for folders that cannot stand side by side.
    """
    named = [_named(one) for one in given]
    names = _told_apart(named)
    _refuse_unwritable(names)
    groups: dict[str, list[Path]] = {}
    for name, (_, path, _) in zip(names, named, strict=True):
        groups.setdefault(name, []).append(path)
    _refuse_twice([path for _, path, _ in named])
    arms = tuple(Arm(name, tuple(map(_folder, paths)), tuple(map(read, paths))) for name, paths in groups.items())
    return Arms(arms, _conditions(arms), _identities(arms), _stamps(arms))


def _named(given: str) -> tuple[str, Path, int | None]:
    """Name ("" for none), path and seed of what was typed."""
    name, sign, rest = given.partition("=")
    if sign and not Path(given).exists():
        return name, Path(rest), None
    path = Path(given)
    parts = [path.resolve(), *path.resolve().parents]
    run = next((found for part in parts if (found := RUN.fullmatch(part.name))), None)
    return (run["arm"], path, int(run["seed"])) if run else ("", path, None)


def _told_apart(named: Sequence[tuple[str, Path, int | None]]) -> list[str]:
    """A name for each, where those without one are called by the end of their path that no other has."""
    seeds: set[tuple[str, int]] = set()
    for name, path, seed in named:
        if seed is not None and (name, seed) in seeds:
            raise UsageError(f"{path} is another folder of {name} with seed {seed}; name the arms apart: NAME={path}")
        if seed is not None:
            seeds.add((name, seed))
    bare = [_folder(path).resolve().parts for name, path, _ in named if not name]
    depth = next(
        (n for n in range(1, max(map(len, bare), default=1) + 1) if len({p[-n:] for p in bare}) == len(bare)), 1
    )
    return [name or "/".join(_folder(path).resolve().parts[-depth:]) for name, path, _ in named]


def _folder(path: Path) -> Path:
    return path if path.is_dir() else path.parent


def _refuse_unwritable(names: Sequence[str]) -> None:
    """They stand in tables and pictures."""
    for name in names:
        if not is_writable(name):
            raise UsageError(f"{name!r} is no name in UTF-8; give another to that folder: NAME=FOLDER")


def _refuse_twice(paths: Sequence[Path]) -> None:
    seen: set[Path] = set()
    for path in paths:
        place = _folder(path).resolve()
        if place in seen:
            raise UsageError(f"{path} is given twice; give each folder once")
        seen.add(place)


def _stamps(arms: Sequence[Arm]) -> tuple[str, ...]:
    """Of all folders, which must have the same: numbers of two protocols are never compared."""
    told = [(folder, run.stamps) for arm in arms for folder, run in zip(arm.folders, arm.runs, strict=True)]
    (first, stamps), *others = told
    for folder, found in others:
        if found.keys() != stamps.keys():
            raise UsageError(
                f"{first} and {folder} were scored in different ways ({'; '.join(stamps) or 'no protocol'} and "
                f"{'; '.join(found) or 'no protocol'}); score both under one protocol"
            )
    return tuple(stamps)


def _identities(arms: Sequence[Arm]) -> dict[str, str]:
    """Clip -> identity, of all folders together. Raises UsageError where two say that one clip shows different people."""
    found: dict[str, str] = {}
    for arm in arms:
        for folder, run in zip(arm.folders, arm.runs, strict=True):
            for clip, who in run.identities.items():
                if found.setdefault(clip, who) != who:
                    raise UsageError(
                        f"{folder} says that clip '{clip}' shows '{who}', {arms[0].folders[0]} or another that it shows "
                        f"'{found[clip]}'; compare folders whose clips have the same true videos"
                    )
    return found


def _conditions(arms: Sequence[Arm]) -> dict[str, dict[str, float]]:
    """Of all folders together. Raises UsageError where two say different things of one clip."""
    found: dict[str, dict[str, float]] = {}
    for arm in arms:
        for folder, run in zip(arm.folders, arm.runs, strict=True):
            for name, values in run.conditions.items():
                for clip, value in values.items():
                    known = found.setdefault(name, {}).setdefault(clip, value)
                    if name == LENGTH:
                        found[name][clip] = max(known, value)
                    elif abs(known - value) > SAME * max(abs(known), 1):
                        raise UsageError(
                            f"{folder} says that the {name} of clip '{clip}' is {value:g}, {arms[0].folders[0]} or another "
                            f"that it is {known:g}; compare folders whose clips have the same true videos"
                        )
    return found
