"""Recipe: a named protocol for folders of videos, read from YAML. Numbers of two recipes are never compared."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from functools import cached_property
from pathlib import Path
from typing import Any

import yaml

from hallo3_lightning.errors import UsageError, unknown
from hallo3_lightning.evaluation.footage import Framing
from hallo3_lightning.evaluation.published_metric import ClipScore, SetDistance, metric
from hallo3_lightning.geometry import FPS

FOLDER = Path("experiments/protocols")
DEFAULT = "hallo3-v1"
FITS = ("crop", "stretch")


@dataclass(frozen=True)
class Recipe:
    """How two sets of videos are looked at and scored."""

    id: str
    version: int
    about: str
    metrics: tuple[str, ...]
    """Ids, as `fid/pytorch_fid`."""
    data: Mapping[str, Any] = field(default_factory=dict)
    """Which clips it is meant for; told, not checked."""
    fps: int = FPS
    frames: int | None = None
    """The first so many of each clip; all where None, but of a pair no more than the shorter one has."""
    resolution: tuple[int, int] | None = None
    """Height and width; the videos' own where None."""
    crop: str = "crop"
    """How a video of another shape is brought to the resolution: the middle of it (crop), or all of it (stretch)."""
    generation: Mapping[str, Any] = field(default_factory=dict)
    """Seeds (one), guidance and steps that clips of a run are made with, its own where null; of videos that somebody
    brings told, not checked."""
    choices: tuple[str, ...] = ()
    """What the source leaves open, and how it is filled here."""

    @cached_property
    def hash(self) -> str:
        """8 hex digits of all the fields."""
        return hashlib.blake2b(json.dumps(asdict(self), sort_keys=True).encode(), digest_size=4).hexdigest()

    @property
    def name(self) -> str:
        """Id, version and hash, as every table has it."""
        return f"{self.id} v{self.version} ({self.hash})"

    @property
    def framing(self) -> Framing:
        """What of a video is looked at."""
        return Framing(self.frames, self.resolution, self.crop)

    def build(self) -> dict[str, ClipScore | SetDistance]:
        """A fresh metric for each id."""
        return {name: metric(name) for name in self.metrics}


def read_recipe(name: str) -> Recipe:
    """The protocol in a YAML file, or of that name in experiments/protocols. Raises UsageError."""
    path = Path(name) if name.endswith((".yaml", ".yml")) else _named(name)
    if not path.is_file():
        raise UsageError(f"{path} is no file; give one with a protocol, or the name of one in {FOLDER}")
    try:
        told = yaml.safe_load(path.read_text(encoding="utf-8"))
    except yaml.YAMLError as error:
        raise UsageError(f"{path} is no YAML: {' '.join(str(error).split())}") from error
    if not isinstance(told, dict):
        raise UsageError(f"{path} holds no protocol; expected id, version, about, metrics and so on, one a line")
    return _recipe(told, path)


def known_recipes() -> dict[str, Path]:
    """Name -> file, of those that come with the project and those where the command is typed."""
    places = (Path(__file__).parents[2] / FOLDER, FOLDER)
    return {path.stem: path for place in places for path in sorted(place.glob("*.yaml"))}


def _named(name: str) -> Path:
    known = known_recipes()
    if name not in known:
        raise unknown("protocol", name, known)
    return known[name]


def _recipe(told: dict[str, Any], path: Path) -> Recipe:
    known = {entry.name for entry in fields(Recipe)}
    for key in told:
        if key not in known:
            raise unknown("setting", str(key), known, str(path))
    absent = sorted({"id", "version", "about", "metrics"} - told.keys())
    if absent:
        raise UsageError(f"{path} has no {', '.join(absent)}; a protocol needs id, version, about and metrics")
    lists = {key: tuple(told[key]) for key in ("metrics", "choices", "resolution") if told.get(key)}
    found = Recipe(**{**told, **lists})
    _check(found, path)
    return found


def _check(recipe: Recipe, path: Path) -> None:
    if recipe.fps != FPS:
        raise UsageError(f"{path}: fps is {recipe.fps}; every video is brought to {FPS} a second here")
    if recipe.crop not in FITS:
        raise unknown("crop", str(recipe.crop), FITS, str(path))
    if recipe.frames is not None and not (isinstance(recipe.frames, int) and recipe.frames > 0):
        raise UsageError(f"{path}: frames is {recipe.frames}; expected a number from 1 on, or null for all")
    for name in ("data", "generation"):
        if not isinstance(getattr(recipe, name), Mapping):
            raise UsageError(f"{path}: {name} is {getattr(recipe, name)}; expected names and values, as {{name: HDTF}}")
    sides = recipe.resolution
    if sides is not None and not (len(sides) == 2 and all(isinstance(side, int) and side > 0 for side in sides)):
        raise UsageError(f"{path}: resolution is {list(sides)}; expected [height, width] in pixels, or null")
    if not recipe.metrics or len(set(recipe.metrics)) != len(recipe.metrics):
        raise UsageError(f"{path}: metrics must be one or more ids, none twice")
    recipe.build()
