"""A grid: a question, and the runs that answer it. Base config x axes x seeds, read from one YAML page."""

import itertools
import json
import math
import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from hallo3_lightning.ablation import page as pages
from hallo3_lightning.ablation.page import SEED, home, name_of
from hallo3_lightning.errors import UsageError, unknown
from hallo3_lightning.find import names

LONGEST_NAME = 200
"""Of an arm: with seed and fingerprint it names a folder, for which file systems take 255 bytes."""

MOST_RUNS = 2000
"""Of a grid: each is resolved, and has a process and a folder of its own."""


@dataclass(frozen=True)
class Arm:
    """One setting of the grid's axes: config key -> value."""

    name: str
    settings: Mapping[str, Any]


@dataclass(frozen=True)
class Run:
    """One arm with one seed."""

    arm: Arm
    seed: int
    overrides: Mapping[str, Any]
    """Every difference from the base: the grid's, the arm's, and the seed."""

    @property
    def name(self) -> str:
        return f"{self.arm.name}-seed{self.seed}"


@dataclass(frozen=True)
class Claim:
    """What somebody else says that an arm scores; shown beside our numbers, and mixed into none."""

    value: float
    source: str


@dataclass(frozen=True)
class Grid:
    """A parsed and checked grid file.

    why: the text under the question. ancestors: config keys that arms change for the runs that they start from, too;
    None where the page says nothing of it. cache: whether what frozen encoders give is computed once for all runs.
    protocol: of experiments/protocols; None for the runs' own test. decide_by: the metrics that decide. strata:
    conditions that the report parts scores by. claimed: arm -> metric -> claim.
    """

    path: Path
    question: str
    base: tuple[Path, ...]
    arms: tuple[Arm, ...]
    seeds: tuple[int, ...]
    baseline: str | None = None
    overrides: Mapping[str, Any] = field(default_factory=dict)
    why: str = ""
    ancestors: tuple[str, ...] | None = None
    cache: bool = False
    protocol: str | None = None
    decide_by: tuple[str, ...] = ()
    strata: tuple[str, ...] = ()
    claimed: Mapping[str, Mapping[str, Claim]] = field(default_factory=dict)

    @property
    def name(self) -> str:
        return name_of(self.path)

    @property
    def protocol_file(self) -> Path | None:
        """Of the protocol that its runs are evaluated under; None where their own test is all."""
        return home(self.path) / "protocols" / f"{self.protocol}.yaml" if self.protocol else None

    @property
    def axes(self) -> list[str]:
        """Every config key that some arm sets."""
        return list(dict.fromkeys(key for arm in self.arms for key in arm.settings))

    def runs(self, only: Sequence[str] = (), seeds: Sequence[int] = ()) -> list[Run]:
        """Arm x seed, seeds outermost so that every arm has a first answer early; `only` and `seeds` select."""
        arms = {arm.name: arm for arm in self.arms}
        for name in only:
            if name not in arms:
                raise unknown("arm", name, arms, str(self.path))
        for seed in seeds:
            if seed not in self.seeds:
                raise unknown("seed", str(seed), map(str, self.seeds), str(self.path))
        return [
            Run(arm, seed, {**self.overrides, **arm.settings, SEED: seed})
            for seed in seeds or self.seeds
            for arm in (arms[name] for name in only or arms)
        ]

    def folder(self, root: Path) -> Path:
        """Where all that belongs to the grid lies."""
        return root / self.name


def read(path: Path) -> Grid:
    """The grid in a file. Raises UsageError for anything that it cannot mean."""
    page = pages.read_page(path)
    if not page.get("base"):
        raise UsageError(
            f"{path} has no 'base'; name the config that all arms share, for example base: [tiny/audio.yaml]"
        )
    axes = pages.settings(path, "'axes'", pages.mapping(path, page, "axes"))
    seeds = pages.seeds(path, page)
    plain = _arms(path, axes, pages.mapping(path, page, "arms"), len(seeds))
    arms = _changed(path, axes, plain, pages.mapping(path, page, "arm_overrides"))
    return Grid(
        path=path,
        question=pages.text(path, page, "question"),
        why=pages.text(path, page, "why"),
        base=page["base"],
        arms=arms,
        seeds=seeds,
        baseline=_baseline(path, page.get("baseline"), plain),
        overrides=pages.settings(path, "'overrides'", pages.mapping(path, page, "overrides")),
        ancestors=pages.words(path, page, "ancestors") if "ancestors" in page else None,
        cache=_cache(path, page.get("cache", False)),
        protocol=_protocol(path, page),
        decide_by=_metrics(path, page),
        strata=pages.words(path, page, "strata"),
        claimed=_claimed(path, arms, pages.mapping(path, page, "claimed")),
    )


def _baseline(path: Path, given: Any, arms: Sequence[Arm]) -> str | None:
    """The arm that others are held against, by name or, with a single axis, by value."""
    if given is None:
        return None
    for arm in arms:
        if arm.name == str(given) or list(arm.settings.values()) == [given]:
            return arm.name
    raise unknown("arm", str(given), (arm.name for arm in arms), f"{path}, key 'baseline'")


def _cache(path: Path, given: Any) -> bool:
    if not isinstance(given, bool):
        raise UsageError(f"{path}: 'cache' is {given!r}; expected true or false")
    return given


def _protocol(path: Path, page: Mapping[str, Any]) -> str | None:
    name = pages.text(path, page, "protocol") or None
    known = sorted(file.stem for file in (home(path) / "protocols").glob("*.yaml"))
    if name is not None and name not in known:
        raise unknown("protocol", name, known, f"{path}; leave it out for the runs' own test")
    return name


def _metrics(path: Path, page: Mapping[str, Any]) -> tuple[str, ...]:
    """Those of `decide_by`; a published one may say its variant (sync_c/joonson)."""
    given = pages.words(path, page, "decide_by")
    known = names("evaluation.metrics") + names("evaluation.published")
    for metric in given:
        if metric.partition("/")[0] not in known:
            raise unknown("metric", metric, dict.fromkeys(known), f"{path}, key 'decide_by'")
    return given


def _claimed(path: Path, arms: Sequence[Arm], given: Mapping[str, Any]) -> dict[str, dict[str, Claim]]:
    there = [arm.name for arm in arms]
    for arm in given:
        if arm not in there:
            raise unknown("arm", str(arm), there, f"{path}, key 'claimed'")
    return {
        arm: {
            str(metric): _claim(path, f"{arm}, {metric}", claim)
            for metric, claim in pages.mapping(path, given, arm).items()
        }
        for arm in given
    }


def _claim(path: Path, whose: str, given: Any) -> Claim:
    whole = isinstance(given, dict) and given.keys() == {"value", "source"} and isinstance(given["source"], str)
    if not whole or type(given["value"]) not in (int, float) or not math.isfinite(given["value"]):
        raise UsageError(
            f"{path}: 'claimed' of {whose} is {given!r}; expected a number and who says it: "
            "{value: 7.5, source: paper and table}"
        )
    return Claim(float(given["value"]), given["source"])


def _arms(path: Path, axes: Mapping[str, Any], extra: Mapping[str, Any], num_seeds: int) -> tuple[Arm, ...]:
    """The product of the axes, then the arms picked by hand."""
    _check_arms(path, axes, extra)
    num_arms = (math.prod(map(len, axes.values())) if axes else 0) + len(extra)
    if num_arms * num_seeds > MOST_RUNS:
        raise UsageError(
            f"{path} has {num_arms * num_seeds} runs ({num_arms} arms x {num_seeds} seeds); expected {MOST_RUNS} at "
            "most: ask it as several grids"
        )
    product = itertools.product(*axes.values()) if axes else []
    arms = [_arm(axes, dict(zip(axes, values, strict=True))) for values in product]
    arms += [Arm(str(name), settings) for name, settings in extra.items()]
    _refuse_long_names(path, arms)
    _refuse_twins(path, "name", [arm.name for arm in arms])
    _refuse_twins(path, "settings", [json.dumps(arm.settings, sort_keys=True) for arm in arms])
    return tuple(arms)


def _check_arms(path: Path, axes: Mapping[str, Any], extra: Mapping[str, Any]) -> None:
    if not axes and not extra:
        raise UsageError(f"{path} has neither 'axes' nor 'arms': there is nothing to compare")
    for key, values in axes.items():
        if not isinstance(values, list) or not values:
            raise UsageError(f"{path}: axis '{key}' is {values!r}; expected a list of one value or more")
    for name, settings in extra.items():
        if not isinstance(settings, dict) or not settings or name != safe(str(name)):
            raise UsageError(f"{path}: arm '{name}' is {settings!r}; expected a plain name and a mapping key -> value")
        pages.settings(path, f"arm '{name}'", settings)


def _refuse_long_names(path: Path, arms: Iterable[Arm]) -> None:
    longest = max((arm.name for arm in arms), key=len)
    if len(longest) > LONGEST_NAME:
        raise UsageError(
            f"{path}: the name of arm '{longest[:40]}...' has {len(longest)} letters, and it names folders; expected "
            f"{LONGEST_NAME} at most: give it a shorter one under 'arms'"
        )


def _changed(path: Path, axes: Mapping[str, Any], arms: Sequence[Arm], overrides: Mapping[str, Any]) -> tuple[Arm, ...]:
    """The arms with what `arm_overrides` sets in each on top of its place on the axes."""
    there = [arm.name for arm in arms]
    for name, given in overrides.items():
        if name not in there:
            raise unknown("arm", str(name), there, f"{path}, key 'arm_overrides'")
        on_axis = next((key for key in pages.settings(path, f"'arm_overrides' of {name}", given) if key in axes), None)
        if on_axis is not None:
            raise UsageError(
                f"{path}: 'arm_overrides' of {name} sets {on_axis}, which is an axis; give the grid an arm of its own "
                "under 'arms' instead"
            )
    return tuple(Arm(arm.name, {**arm.settings, **overrides.get(arm.name, {})}) for arm in arms)


def _refuse_twins(path: Path, what: str, values: Iterable[str]) -> None:
    twins = [value for value, count in Counter(values).items() if count > 1]
    if twins:
        raise UsageError(f"{path}: two arms have the same {what}: {', '.join(twins)}; give each its own")


def _arm(axes: Mapping[str, Sequence[Any]], settings: dict[str, Any]) -> Arm:
    words = Counter(word(value) for values in axes.values() for value in {word(v): v for v in values}.values())
    parts = [
        word(value) if isinstance(value, str | list) and words[word(value)] == 1 else f"{_last(key)}={word(value)}"
        for key, value in settings.items()
    ]
    return Arm(",".join(parts), settings)


def word(value: Any) -> str:
    """The last part of a value, as a word of an arm's name: "conditioning.audio.adaln" -> "adaln", [a, b] -> "a+b"."""
    if isinstance(value, list):
        return "+".join(word(item) for item in value)
    if isinstance(value, dict):
        return word(value["class_path"]) if "class_path" in value else safe(json.dumps(value, sort_keys=True))
    if isinstance(value, str):
        return safe(_last(value))
    return safe("none" if value is None else str(value).lower())


def _last(dotted: str) -> str:
    return dotted.rsplit(".", 1)[-1].rsplit("/", 1)[-1]


def safe(text: str) -> str:
    """The text as it may stand in a folder's name."""
    return re.sub(r"[^A-Za-z0-9._+=,-]+", "_", text).lstrip(".-") or "_"
