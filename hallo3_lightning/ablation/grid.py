"""A grid: a question, and the runs that answer it. Base config x axes x seeds, read from one YAML page."""

import itertools
import json
import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from hallo3_lightning.errors import UsageError, unknown

KEYS = ("question", "base", "axes", "arms", "overrides", "seeds", "baseline")
SEED = "seed_everything"
LARGEST_SEED = 2**32 - 1
"""Of numpy's generator, which is seeded along with the others."""


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
class Grid:
    """A parsed and checked grid file."""

    path: Path
    question: str
    base: tuple[Path, ...]
    arms: tuple[Arm, ...]
    seeds: tuple[int, ...]
    baseline: str | None = None
    overrides: Mapping[str, Any] = field(default_factory=dict)

    @property
    def name(self) -> str:
        return self.path.stem

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
    page = _page(path)
    axes, overrides = _mapping(path, page, "axes"), _mapping(path, page, "overrides")
    arms = _arms(path, axes, _mapping(path, page, "arms"))
    return Grid(
        path=path,
        question=str(page.get("question") or ""),
        base=_base(path, page),
        arms=arms,
        seeds=_seeds(path, page),
        baseline=_baseline(path, page.get("baseline"), arms),
        overrides=overrides,
    )


def is_grid(path: Path) -> bool:
    """Whether a file says which arms there are, and so is no config of one run."""
    try:
        page = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, yaml.YAMLError):
        return False
    return isinstance(page, dict) and bool({"axes", "arms"} & page.keys())


class _Strict(yaml.SafeLoader):
    """Refuses a key that is given twice, of which YAML readers silently keep the last."""

    def compose_mapping_node(self, anchor: str | None) -> yaml.MappingNode:
        node = super().compose_mapping_node(anchor)
        keys = Counter((key.tag, key.value) for key, _ in node.value if isinstance(key, yaml.ScalarNode))
        for key, _ in reversed(node.value):
            if isinstance(key, yaml.ScalarNode) and keys[key.tag, key.value] > 1:
                raise yaml.MarkedYAMLError(None, None, f"key '{key.value}' is given twice", key.start_mark)
        return node


def _page(path: Path) -> dict[str, Any]:
    if not path.is_file():
        near = sorted(str(found) for found in path.parent.glob("*.yaml")) if path.parent.is_dir() else []
        raise unknown("grid file", str(path), near)
    try:
        page = yaml.load(path.read_text(encoding="utf-8"), _Strict)
    except UnicodeDecodeError as error:
        raise UsageError(f"{path} is not text in UTF-8 (byte {error.start}); save it as UTF-8") from None
    except (yaml.YAMLError, ValueError) as error:  # ValueError: a date such as 2024-13-01
        raise UsageError(f"{path} is not YAML: {' '.join(str(error).split())}") from None
    if not isinstance(page, dict):
        raise UsageError(f"{path} is empty or a list; a grid is a mapping with the keys {', '.join(KEYS)}")
    for key in page:
        if key not in KEYS:
            raise unknown("key", str(key), KEYS, str(path))
    return page


def _mapping(path: Path, page: Mapping[str, Any], key: str) -> dict[str, Any]:
    value = page.get(key)
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise UsageError(f"{path}: '{key}' is {value!r}; expected a mapping")
    if key != "arms":
        _refuse_odd_settings(path, f"'{key}'", value)
    return value


def _refuse_odd_settings(path: Path, where: str, settings: Mapping[Any, Any]) -> None:
    """Keys are dotted config keys other than the seed; values are what JSON gives back as it was."""
    for key, value in settings.items():
        if not isinstance(key, str) or not key:
            raise UsageError(f"{path}: key {key!r} in {where} is no config key; expected one such as model.audio")
        if key == SEED:
            raise UsageError(f"{path}: {where} sets {SEED}; give the grid's 'seeds' instead")
        if not _plain(value):
            raise UsageError(
                f"{path}: '{key}' in {where} has {value!r}; expected text, numbers, true, false, null, or lists and "
                "mappings of them; quote a date"
            )


def _plain(value: Any) -> bool:
    try:
        return bool(json.loads(json.dumps(value)) == value)
    except (TypeError, ValueError):
        return False


def _base(path: Path, page: Mapping[str, Any]) -> tuple[Path, ...]:
    """Config layers, given relative to the folder above grids/."""
    layers = page.get("base") or []
    layers = [layers] if isinstance(layers, str) else layers
    if not isinstance(layers, list) or not all(isinstance(layer, str) for layer in layers):
        raise UsageError(f"{path}: 'base' is {layers!r}; expected config files, for example [tiny/audio.yaml]")
    if not layers:
        raise UsageError(
            f"{path} has no 'base'; name the config that all arms share, for example base: [tiny/audio.yaml]"
        )
    home = path.parent.parent if path.parent.name == "grids" else path.parent
    for layer in layers:
        if not (home / layer).is_file():
            there = (str(found.relative_to(home)) for found in home.glob("*/*.yaml") if found.parent.name != "grids")
            raise unknown("base config", str(layer), there, f"{path}, looked for in {home}")
    return tuple(home / layer for layer in layers)


def _seeds(path: Path, page: Mapping[str, Any]) -> tuple[int, ...]:
    seeds = page.get("seeds", [0])
    numbers = isinstance(seeds, list) and all(type(s) is int and 0 <= s <= LARGEST_SEED for s in seeds)
    if not numbers or not seeds or len(set(seeds)) < len(seeds):
        raise UsageError(f"{path}: 'seeds' is {seeds!r}; expected a list of different whole numbers from 0 on")
    return tuple(seeds)


def _baseline(path: Path, given: Any, arms: Sequence[Arm]) -> str | None:
    """The arm that others are held against, by name or, with a single axis, by value."""
    if given is None:
        return None
    for arm in arms:
        if arm.name == str(given) or list(arm.settings.values()) == [given]:
            return arm.name
    raise unknown("arm", str(given), (arm.name for arm in arms), f"{path}, key 'baseline'")


def _arms(path: Path, axes: Mapping[str, Any], extra: Mapping[str, Any]) -> tuple[Arm, ...]:
    if not axes and not extra:
        raise UsageError(f"{path} has neither 'axes' nor 'arms': there is nothing to compare")
    for key, values in axes.items():
        if not isinstance(values, list) or not values:
            raise UsageError(f"{path}: axis '{key}' is {values!r}; expected a list of one value or more")
    for name, settings in extra.items():
        if not isinstance(settings, dict) or not settings or name != safe(str(name)):
            raise UsageError(f"{path}: arm '{name}' is {settings!r}; expected a plain name and a mapping key -> value")
        _refuse_odd_settings(path, f"arm '{name}'", settings)
    product = itertools.product(*axes.values()) if axes else []
    arms = [_arm(axes, dict(zip(axes, values, strict=True))) for values in product]
    arms += [Arm(str(name), settings) for name, settings in extra.items()]
    _refuse_twins(path, "name", [arm.name for arm in arms])
    _refuse_twins(path, "settings", [json.dumps(arm.settings, sort_keys=True) for arm in arms])
    return tuple(arms)


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
