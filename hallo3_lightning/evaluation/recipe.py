"""Recipe: a named protocol for folders of videos, read from YAML. Numbers of two recipes are never compared."""

import hashlib
import json
import re
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field, fields
from functools import cached_property
from pathlib import Path
from typing import Any

from datamodules.video.untrusted_video import MAX_PIXELS
from hallo3_lightning.errors import UsageError, unknown
from hallo3_lightning.evaluation.footage import Framing
from hallo3_lightning.evaluation.published_metric import ClipScore, SetDistance, metric
from hallo3_lightning.geometry import FPS
from hallo3_lightning.strict_yaml import PLAIN, is_plain, read_strictly

FOLDER = Path("experiments/protocols")
DEFAULT = "hallo3-v1"
FITS = ("crop", "stretch")

ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
"""It names the folder of an evaluation, and so must lead nowhere else."""


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
    told = read_strictly(path)
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
    _check(told, path)
    lists = {key: tuple(value) for key, value in told.items() if isinstance(value, list)}
    found = Recipe(**{**told, **lists})
    found.build()  # whose names are looked up there
    return found


def _check(told: Mapping[str, Any], path: Path) -> None:
    """Raise UsageError for the first setting that is not what it should be."""
    for key, value in told.items():
        if not is_plain(value):
            raise UsageError(f"{path}: {key} has a value that is none of {PLAIN}, and name keys by text")
        fits, expected = SETTINGS[key]
        if not fits(value):
            raise UsageError(f"{path}: {key} is {value!r:.80}; expected {expected}")
    generation = told.get("generation", {})
    for key in GENERATION.keys() & generation.keys():
        (fits, expected), value = GENERATION[key], generation[key]
        if value is not None and not fits(value):
            raise UsageError(f"{path}: {key} of generation is {value!r:.80}; expected {expected}, or null")


def _is_id(value: Any) -> bool:
    return isinstance(value, str) and ID.fullmatch(value) is not None


def _is_count(value: Any) -> bool:
    return type(value) is int and value > 0


def _is_number(value: Any) -> bool:
    return type(value) in (int, float)


def _is_text(value: Any) -> bool:
    return isinstance(value, str)


def _is_mapping(value: Any) -> bool:
    return isinstance(value, dict)


def _are_texts(value: Any) -> bool:
    return isinstance(value, list) and all(map(_is_text, value))


def _are_metrics(value: Any) -> bool:
    return _are_texts(value) and 0 < len(value) == len(set(value))


def _is_size(value: Any) -> bool:
    return (
        isinstance(value, list) and len(value) == 2 and all(map(_is_count, value)) and value[0] * value[1] <= MAX_PIXELS
    )


def _are_seeds(value: Any) -> bool:
    return isinstance(value, list) and len(value) > 0 and all(type(seed) is int and seed >= 0 for seed in value)


Kind = tuple[Callable[[Any], bool], str]
"""Whether a value is of it, and what it is in words."""

SETTINGS: Mapping[str, Kind] = {
    "id": (_is_id, "a word of up to 64 letters, digits, '.', '_' and '-' that begins with one of the first two"),
    "version": (_is_count, "a whole number from 1 on"),
    "about": (_is_text, "a line of text"),
    "metrics": (_are_metrics, "a list of one or more ids, none twice, as [fid/pytorch_fid]"),
    "data": (_is_mapping, "names and values, as {name: HDTF}"),
    "fps": (lambda value: type(value) is int and value == FPS, f"{FPS}, to which every video is brought here"),
    "frames": (lambda value: value is None or _is_count(value), "a number from 1 on, or null for all"),
    "resolution": (
        lambda value: value is None or _is_size(value),
        f"[height, width] of up to {MAX_PIXELS} pixels, or null for the videos' own",
    ),
    "crop": (lambda value: value in FITS, " or ".join(FITS)),
    "generation": (_is_mapping, "names and values, as {steps: 50}"),
    "choices": (_are_texts, "a list of sentences"),
}

GENERATION: Mapping[str, Kind] = {
    "seeds": (_are_seeds, "a list of whole numbers from 0 on"),
    "guidance": (_is_number, "a number"),
    "steps": (_is_count, "a whole number from 1 on"),
}
"""Those that a run is generated with; null leaves them to the run."""
