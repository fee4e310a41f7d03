"""A grid file as it is written: one page over another, and every value of a known kind."""

import os
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from hallo3_lightning.errors import UsageError, unknown
from hallo3_lightning.strict_yaml import PLAIN, is_plain, read_strictly

KEYS = (
    "question",
    "why",
    "extends",
    "base",
    "axes",
    "arms",
    "overrides",
    "arm_overrides",
    "ancestors",
    "cache",
    "seeds",
    "baseline",
    "protocol",
    "decide_by",
    "strata",
    "claimed",
)
MERGED = ("axes", "arms", "overrides", "arm_overrides", "claimed")
"""Of a page over another: these are joined key by key, of the others the upper page's stands."""

CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")
"""Characters that are no words, and that a terminal obeys."""

FOLDER = "grids"
SEED = "seed_everything"
LARGEST_SEED = 2**32 - 1
"""Of numpy's generator, which is seeded along with the others."""


def read_page(path: Path) -> dict[str, Any]:
    """What a grid file says, over what the page that it `extends` says; `base` as the paths of its files.

    Raises UsageError for text that is no page.
    """
    return _layered(path, ())


def home(path: Path) -> Path:
    """The folder above grids/, from where a grid names its base; the grid's own folder outside of one."""
    return next((folder.parent for folder in path.absolute().parents if folder.name == FOLDER), path.parent)


def name_of(path: Path) -> str:
    """The grid's name: its file's, behind the folders between it and grids/ ("full-audio")."""
    folder = next((folder for folder in path.absolute().parents if folder.name == FOLDER), None)
    return path.stem if folder is None else "-".join(path.absolute().relative_to(folder).with_suffix("").parts)


def is_grid(path: Path) -> bool:
    """Whether a file says which arms there are, and so is no config of one run."""
    try:
        page = read_strictly(path)
    except (OSError, UsageError):
        return False
    return isinstance(page, dict) and bool({"axes", "arms", "extends"} & page.keys())


def text(path: Path, page: Mapping[str, Any], key: str) -> str:
    """A line or a paragraph; empty where there is none."""
    value = page.get(key)
    if value is not None and not isinstance(value, str):
        raise UsageError(f"{path}: '{key}' is {value!r}; expected words")
    return (value or "").strip()


def words(path: Path, page: Mapping[str, Any], key: str) -> tuple[str, ...]:
    """A list of different words; empty where there is none."""
    value = page.get(key)
    given = [value] if isinstance(value, str) else [] if value is None else value
    if not isinstance(given, list) or not all(isinstance(word, str) for word in given) or len(set(given)) < len(given):
        raise UsageError(f"{path}: '{key}' is {value!r}; expected a list of different words")
    return tuple(given)


def mapping(path: Path, page: Mapping[str, Any], key: str) -> dict[str, Any]:
    """Keys and values; empty where there are none."""
    value = page.get(key)
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise UsageError(f"{path}: '{key}' is {value!r}; expected a mapping")
    return value


def settings(path: Path, where: str, given: Any) -> dict[str, Any]:
    """Dotted config keys other than the seed, with values that JSON gives back as they were."""
    if not isinstance(given, dict):
        raise UsageError(f"{path}: {where} is {given!r}; expected a mapping of config keys")
    for key, value in given.items():
        if not isinstance(key, str) or not key:
            raise UsageError(f"{path}: key {key!r} in {where} is no config key; expected one such as model.audio")
        if key == SEED:
            raise UsageError(f"{path}: {where} sets {SEED}; give the grid's 'seeds' instead")
        if not is_plain(value):
            raise UsageError(f"{path}: '{key}' in {where} has {value!r}; expected {PLAIN}")
    return given


def seeds(path: Path, page: Mapping[str, Any]) -> tuple[int, ...]:
    """Seed 0 where none are given."""
    given = page.get("seeds", [0])
    numbers = isinstance(given, list) and all(type(seed) is int and 0 <= seed <= LARGEST_SEED for seed in given)
    if not numbers or not given or len(set(given)) < len(given):
        raise UsageError(f"{path}: 'seeds' is {given!r}; expected a list of different whole numbers from 0 on")
    return tuple(given)


def _layered(path: Path, above: Sequence[Path]) -> dict[str, Any]:
    page = _parsed(path)
    if "base" in page:
        page["base"] = _base(path, page["base"])
    extended = page.pop("extends", None)
    if extended is None:
        return page
    if not isinstance(extended, str):
        raise UsageError(f"{path}: 'extends' is {extended!r}; expected the grid file that this one changes")
    under = Path(os.path.normpath(path.parent / extended))
    if under.resolve() in [upper.resolve() for upper in (*above, path)]:
        raise UsageError(f"{path} extends {extended}, which extends it in turn; let one of them stand alone")
    lower = _layered(under, (*above, path))
    merged = {
        key: {**mapping(under, lower, key), **mapping(path, page, key)} for key in MERGED if key in {**lower, **page}
    }
    return {**lower, **page, **merged}


def _parsed(path: Path) -> dict[str, Any]:
    if not path.is_file():
        near = sorted(str(found) for found in path.parent.glob("*.yaml")) if path.parent.is_dir() else []
        raise unknown("grid file", str(path), near)
    page = read_strictly(path)
    if not isinstance(page, dict):
        raise UsageError(f"{path} is empty or a list; a grid is a mapping with the keys {', '.join(KEYS)}")
    for key in page:
        if key not in KEYS:
            raise unknown("key", str(key), KEYS, str(path))
        odd = next((words for words in _texts(page[key]) if CONTROL.search(words)), None)
        if odd is not None:
            raise UsageError(f"{path}: '{key}' holds {odd[:40]!r}, with a control character; write plain text")
    return page


def _texts(value: Any) -> Iterator[str]:
    """Every text in a value, keys too."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, list | dict):
        for part in [*value, *(value.values() if isinstance(value, dict) else ())]:
            yield from _texts(part)


def _base(path: Path, given: Any) -> tuple[Path, ...]:
    """Config layers, given relative to the folder above grids/."""
    layers = [given] if isinstance(given, str) else given or []
    if not isinstance(layers, list) or not all(isinstance(layer, str) for layer in layers):
        raise UsageError(f"{path}: 'base' is {layers!r}; expected config files, for example [tiny/audio.yaml]")
    folder = _as_typed(home(path))
    for layer in layers:
        if not (folder / layer).is_file():
            there = (str(found.relative_to(folder)) for found in folder.glob("*/*.yaml") if found.parent.name != FOLDER)
            raise unknown("base config", str(layer), there, f"{path}, looked for in {folder}")
    return tuple(folder / layer for layer in layers)


def _as_typed(folder: Path) -> Path:
    """Seen from here where it is below: a run's settings should not hold where a checkout lies."""
    here = Path.cwd()
    return folder.relative_to(here) if folder.is_relative_to(here) else folder
