"""What a grid meant when it was first launched: written down, held against what it means now.

root/<grid>/ has, beside grid.json: meaning.json (of every arm, whatever changes results, and of what it starts from; what
the config files said), provenance.json (commit, versions, data, weights), and diff.patch, what the code differed in
from the commit.
"""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NotRequired, TypedDict

import yaml
from rich.console import Console
from rich.markup import escape

from hallo3_lightning.ablation import meaning
from hallo3_lightning.ablation.grid import LONGEST_NAME, Grid, safe
from hallo3_lightning.ablation.runs import write_atomically
from hallo3_lightning.errors import UsageError
from hallo3_lightning.strict_json import read_json
from hallo3_lightning.strict_yaml import read_strictly

SAID = 5
"""Changes that a sentence tells; of the rest it gives the number."""

SEEDS = ("seed_everything", "model.seed", "data.seed")
BEFORE = " before it: "
"""Between the phase that a run starts from and a setting of it."""

NOTHING = "nothing"
"""In place of the value of a key that was not there."""


class Frozen(TypedDict):
    """meaning.json: arm -> setting -> value; the same of config files."""

    arms: dict[str, dict[str, Any]]
    files: dict[str, dict[str, Any]]


class Provenance(TypedDict):
    """What is read here of provenance.json."""

    code: dict[str, Any]
    later: NotRequired[list[dict[str, Any]]]


@dataclass(frozen=True)
class Change:
    """A setting that is no longer what it was, and where: names of arms, or of a config file."""

    key: str
    before: Any
    after: Any
    where: tuple[str, ...]

    def __str__(self) -> str:
        return f"{self.key} was {_told(self.before)}, is {_told(self.after)} ({', '.join(self.where)})"


def refuse_changed(grid: Grid, root: Path, configs: Mapping[str, Mapping[str, Any]]) -> None:
    """Raise UsageError, with the differences, where an arm no longer means what was launched.

    configs: arm -> its resolved config. New arms and new seeds change nothing of the others.
    """
    frozen = _read(_file(grid, root), Frozen)
    changes = _changes(frozen["arms"], _meanings(grid, configs)) if frozen else []
    if not changes:
        return
    told = "; ".join(map(str, changes[:SAID])) + (f"; and {len(changes) - SAID} more" if len(changes) > SAID else "")
    raise UsageError(
        f"{grid.path} no longer means what was launched in {grid.folder(root)}: {told}; put it back, or launch it as a "
        "grid of its own with --fork NAME"
    )


def freeze(grid: Grid, root: Path, configs: Mapping[str, Mapping[str, Any]]) -> None:
    """Write down what the arms mean and what they are made of, where it is not yet; see `refuse_changed`."""
    refuse_changed(grid, root, configs)
    known = _read(_file(grid, root), Frozen) or {"arms": {}, "files": {}}
    files = {str(file): _content(file) for file in _files(grid, configs)}
    page = {"arms": known["arms"] | _meanings(grid, configs), "files": known["files"] | files}
    write_atomically(_file(grid, root), json.dumps(page, indent=1, default=str))
    _write_provenance(grid.folder(root), configs)


def edits(grid: Grid, root: Path) -> list[str]:
    """What config files say otherwise than at the launch, as sentences; a look at the files alone, for those in a hurry."""
    frozen = _read(_file(grid, root), Frozen)
    if frozen is None:
        return []
    now = {file: _content(Path(file)) for file in frozen["files"]}
    changes = _changes(frozen["files"], now)
    return [f"{change}; the runs are those of before" for change in changes]


def say_edits(console: Console, grid: Grid, root: Path) -> None:
    """Print what config files say otherwise than at the launch, one line each."""
    for edit in edits(grid, root):
        console.print(f"[yellow]edited:[/] {escape(edit)}", soft_wrap=True, highlight=False)


def forked(grid: Grid, name: str, keep: bool = True) -> Grid:
    """The grid as it is now as one of another name: a copy of its page beside it, not written unless `keep`.

    Raises UsageError where a page of that name says something else.
    """
    if name != safe(name) or len(name) > LONGEST_NAME:
        raise UsageError(f"--fork is '{name}'; expected a plain name, such as {safe(name)[:40]}")
    copy, text = grid.path.with_name(f"{name}.yaml"), grid.path.read_text(encoding="utf-8")
    if copy.is_file() and copy.read_text(encoding="utf-8") != text:
        raise UsageError(f"{copy} is there and says something else than {grid.path}; give --fork another name")
    if keep and not copy.is_file():
        write_atomically(copy, text)
    return replace(grid, path=copy)


def _changes(before: Mapping[str, Mapping[str, Any]], after: Mapping[str, Mapping[str, Any]]) -> list[Change]:
    """Of those in both; where several have the same change, it is one."""
    found: dict[str, tuple[str, Any, Any, list[str]]] = {}
    both = [name for name in before if name in after]
    for name in both:
        old, new = before[name], after[name]
        for key in sorted(old.keys() | new.keys(), key=lambda key: (BEFORE in key, key)):
            pair = old.get(key, NOTHING), new.get(key, NOTHING)
            if _plain(pair[0]) != _plain(pair[1]):
                found.setdefault(f"{key} {_plain(pair)}", (key, *pair, []))[-1].append(name)
    return [
        Change(key, old, new, ("all arms",) if 1 < len(both) == len(where) else tuple(where))
        for key, old, new, where in found.values()
    ]


def _file(grid: Grid, root: Path) -> Path:
    return grid.folder(root) / "meaning.json"


def _meanings(grid: Grid, configs: Mapping[str, Mapping[str, Any]]) -> dict[str, dict[str, Any]]:
    protocol = {"protocol": grid.protocol or "the runs' own test"}
    return {arm: protocol | _meaning(config) for arm, config in configs.items()}


def _meaning(config: Mapping[str, Any]) -> dict[str, Any]:
    """Whatever changes results but the seed of the run, and the same of what it starts from."""
    own = {key: value for key, value in meaning.meaning_of(config).items() if key not in SEEDS}
    layers = meaning.ancestor(config)
    if layers is None:
        return own
    above = meaning.resolve(layers, {})
    return own | {f"{above['phase']}{BEFORE}{key}": value for key, value in _meaning(above).items()}


def _files(grid: Grid, configs: Mapping[str, Mapping[str, Any]]) -> list[Path]:
    """The config files that the grid stands on: its base, and those of the runs that it starts from."""
    above = [Path(file) for config in configs.values() for file in meaning.files_of(_layers(config))]
    return list(dict.fromkeys([*grid.base, *above]))


def _layers(config: Mapping[str, Any]) -> Iterator[str]:
    layers = meaning.ancestor(config)
    if layers is not None:
        yield from layers
        yield from _layers(meaning.resolve(layers, {}))


def _content(file: Path) -> dict[str, Any]:
    """What a config file sets, flat; nothing where there is none any more."""
    try:
        page = read_strictly(file) if file.is_file() else None
    except UsageError:
        return {"all of it": "not YAML"}
    return meaning.flat(page) if isinstance(page, dict) else {}


def _write_provenance(folder: Path, configs: Mapping[str, Mapping[str, Any]]) -> None:
    """Of the first launch; a later one with other code is added to it, with its own patch."""
    from hallo3_lightning.training import provenance  # takes seconds, for which those who only look have no use

    code, file = provenance.code(), folder / "provenance.json"
    known = _read(file, Provenance)
    if known is None:
        chains = [link for config in configs.values() for link in _chain(config)]
        data = {link["data"]["shards"]: provenance.data(link) for link in chains}
        weights = {str(link["model"].get("init_from")): provenance.weights(link) for link in chains}
        known = {
            "code": code,
            "versions": provenance.versions(),
            "data": data,
            "weights": {place: digits for place, digits in weights.items() if digits is not None},
        }
        write_atomically(folder / "diff.patch", provenance.difference())
    elif code not in (known["code"], *known.get("later", [])):
        known.setdefault("later", []).append(code)
        if code.get("diff"):
            write_atomically(folder / f"diff-{code['diff']}.patch", provenance.difference())
    write_atomically(file, json.dumps(known, indent=1))


def _chain(config: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    """A config, that of what it starts from, and so on."""
    yield config
    layers = meaning.ancestor(config)
    if layers is not None:
        yield from _chain(meaning.resolve(layers, {}))


def _read(file: Path, kind: Any) -> Any:
    """None where there is none; one that is damaged says so."""
    try:
        return read_json(file, kind)
    except FileNotFoundError:
        return None
    except ValueError:
        raise UsageError(
            f"{file} is damaged; put it back, or remove it and launch again: what is launched then is frozen"
        ) from None


def _plain(value: Any) -> str:
    return json.dumps(value, sort_keys=True, default=str)


def _told(value: Any) -> str:
    return value if value is NOTHING else yaml.safe_dump(value, default_flow_style=True).removesuffix("...\n").strip()
