"""Signals that `hallo3 cache` computed ahead, read beside the shards they were computed from."""

import hashlib
import json
from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from datamodules.bad_sample import BadSample
from datamodules.index import Index, open_index
from datamodules.shards import Sample, decode
from hallo3_lightning.errors import UsageError
from hallo3_lightning.model.frozen import FrozenEncoders

CACHE_FILE = "cache.json"
VERSION = 1
"""Raise it with every change of what a signal is."""

SIGNALS = {"latents": "video", "text": "text", "audio": "audio"}
"""Signal -> the kind of encoder that computes it."""

Caches = Sequence[str | Path]


@dataclass(frozen=True)
class Recipe:
    """What the bytes of a cache depend on."""

    signals: tuple[str, ...]
    encoders: Mapping[str, str]
    """Kind -> fingerprint, of those that the signals need."""
    sources: Mapping[str, str]
    """Split -> digest of the shards."""
    dtype: str
    clip_frames: int | None
    """Of the clips that latents are of."""
    clips: int | None
    """Most clips a sample; they begin evenly spread over all places where a clip can begin."""
    version: int = VERSION


@dataclass(frozen=True)
class Cache:
    """A finished folder of signals."""

    folder: Path
    recipe: Recipe


class WithSignals:
    """An index whose samples have the members of caches too."""

    def __init__(self, index: Index, caches: Sequence[tuple[Cache, Index]]) -> None:
        self.index = index
        self.caches = tuple(caches)
        self.samples_per_shard = index.samples_per_shard
        self._beside = [_Beside(index, signals) for _, signals in caches]

    def __len__(self) -> int:
        return len(self.index)

    @property
    def name(self) -> str:
        """The place of the shards."""
        return self.index.name

    @cached_property
    def digest(self) -> str:
        """Of the shards, and of which clips have latents: what decides the clip at a position."""
        of_clips = [cache.recipe for cache, _ in self.caches if "latents" in cache.recipe.signals]
        if not of_clips:
            return self.index.digest
        named = json.dumps([self.index.digest, *([recipe.clip_frames, recipe.clips] for recipe in of_clips)])
        return hashlib.blake2b(named.encode(), digest_size=8).hexdigest()

    def key(self, number: int) -> str:
        """As of Index."""
        return self.index.key(number)

    def shard(self, number: int) -> str:
        """As of Index."""
        return self.index.shard(number)

    def read_members(self, number: int, names: Collection[str] | None = None) -> dict[str, bytes]:
        """As of Index, with the caches' members."""
        return self.read_many([number], names)[0]

    def read_many(self, numbers: Sequence[int], names: Collection[str] | None = None) -> list[dict[str, bytes]]:
        """As of Index, with the caches' members. Raises BadSample for a sample that a cache lacks."""
        samples = self.index.read_many(numbers, names)
        for beside in self._beside:
            signals = beside.signals.read_many([beside.number(number) for number in numbers], names)
            samples = [sample | more for sample, more in zip(samples, signals, strict=True)]
        return samples

    def read(self, number: int) -> Sample:
        """Sample `number`, decoded, with its signals."""
        return decode(self.read_members(number), self.key(number), self.shard(number))


class _Beside:
    """Where the signals of a sample are: a cache has the same shards in the same order, but may lack samples."""

    def __init__(self, index: Index, signals: Index) -> None:
        self.index = index
        self.signals = signals
        counts = dict(zip(signals.shards, signals.samples_per_shard.tolist(), strict=True))
        there = np.array([counts.get(shard, 0) for shard in index.shards], np.int64)
        self._ends = np.cumsum(index.samples_per_shard)
        self._begins, self._counts = np.cumsum(there) - there, there

    def number(self, number: int) -> int:
        """The number in the cache of sample `number`. Raises BadSample where it is not there.

        It is at most as far behind its shard's first as the sample is, and lacks none but those that were bad: a walk.
        """
        key = raw_key(self.index, number)
        shard = int(np.searchsorted(self._ends, number, side="right"))
        behind = number - int(self._ends[shard] - self.index.samples_per_shard[shard])
        for place in range(min(behind, int(self._counts[shard]) - 1), -1, -1):
            found = int(self._begins[shard]) + place
            if raw_key(self.signals, found) == key:
                return found
        shard_name = self.index.shard(number)
        message = (
            f"{shard_name}: sample '{key}' has no signals in {self.signals.name}: it could not be read when they were "
            "computed; leave the sample out, or mend it and compute them again with hallo3 cache"
        )
        raise BadSample(message, shard=shard_name, key=key, reason="not in the cache")


def raw_key(index: Index, number: int) -> str:
    """The key as it stands in the shard, where several shards may have it."""
    return index.key(number).removesuffix(f"@{index.shard(number)}")


def joined(
    indexes: Sequence[Index], caches: Caches, split: str, clip_frames: Sequence[int], every_cache: bool = True
) -> tuple[Index | WithSignals, ...]:
    """Each data set with the signals that were computed from it.

    split: train or held_out; clip_frames: of the clips of each data set. Raises UsageError for a cache that is not
    finished, was computed from none of these shards (with `every_cache`), or has latents of clips of another length.
    """
    opened = [open_cache(folder) for folder in caches]
    strangers = [cache for cache in opened if all(cache.recipe.sources.get(split) != one.digest for one in indexes)]
    if strangers and every_cache:
        names = ", ".join(f"{index.name} ({index.digest})" for index in indexes)
        was = strangers[0].recipe.sources.get(split, "none")
        raise UsageError(
            f"{strangers[0].folder} was computed from other {split} shards ({was}) than {names}; compute it again with: "
            "hallo3 cache"
        )
    return tuple(
        _joined(index, [cache for cache in opened if cache.recipe.sources.get(split) == index.digest], split, frames)
        for index, frames in zip(indexes, clip_frames, strict=True)
    )


def open_cache(folder: str | Path) -> Cache:
    """A finished cache. Raises UsageError for a folder that is none."""
    folder = Path(folder)
    made = manifest(folder)
    if made is None:
        raise UsageError(
            f"{folder} is no cache: it has no {CACHE_FILE}; make one with: hallo3 cache SHARDS {folder} --config FILE"
        )
    recipe, is_finished = made
    if recipe.version != VERSION:
        raise UsageError(
            f"{folder} was made by another version of hallo3 cache; remove it and run the same command again"
        )
    if not is_finished:
        raise UsageError(f"{folder} is not finished; run its `hallo3 cache` again, which goes on from what is there")
    return Cache(folder, recipe)


def manifest(folder: Path) -> tuple[Recipe, bool] | None:
    """What cache.json says: the recipe, and whether it was followed to the end; None without the file."""
    path = folder / CACHE_FILE
    if not path.is_file():
        return None
    try:
        said: dict[str, Any] = json.loads(path.read_text())
        recipe = said["recipe"] | {"signals": tuple(said["recipe"]["signals"])}
        return Recipe(**recipe), bool(said["finished"])
    except (ValueError, KeyError, TypeError) as error:
        raise UsageError(f"{path} is damaged ({error}); remove the folder and compute it again") from error


def save_manifest(folder: Path, recipe: Recipe, is_finished: bool) -> None:
    """Write cache.json, whole or not at all."""
    partial = folder / f"{CACHE_FILE}.partial"
    partial.write_text(json.dumps({"recipe": asdict(recipe), "finished": is_finished}, indent=2) + "\n")
    partial.replace(folder / CACHE_FILE)


def refuse_other_encoders(caches: Caches, encoders: FrozenEncoders) -> None:
    """Raise UsageError if signals were computed by other encoders than the run's; hashes weights only for caches."""
    opened = [open_cache(folder) for folder in caches]
    kinds = sorted({kind for cache in opened for kind in cache.recipe.encoders})
    have = encoders.fingerprints(kinds)
    for cache in opened:
        for kind, computed_by in cache.recipe.encoders.items():
            if computed_by != have[kind]:
                raise UsageError(
                    f"{cache.folder} was computed by another {kind} encoder ({computed_by}) than model.encoders.{kind} of "
                    f"this run ({have[kind]}); name the same weights and sizes, or compute it again with: hallo3 cache"
                )


def _joined(index: Index, caches: Sequence[Cache], split: str, clip_frames: int) -> Index | WithSignals:
    for cache in caches:
        of = cache.recipe.clip_frames
        if "latents" in cache.recipe.signals and split == "train" and of != clip_frames:
            raise UsageError(
                f"{cache.folder} has latents of clips of {of} frames, clip_frames is {clip_frames}; set it to {of}, or "
                "compute them again with: hallo3 cache"
            )
    beside = [(cache, cache.folder / split) for cache in caches if any((cache.folder / split).glob("*.tar"))]
    return WithSignals(index, [(cache, open_index(folder)) for cache, folder in beside]) if beside else index
