"""From positions in the global order to batches: which clip stands at a position, and who reads which."""

import itertools
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch
from torch.utils.data import Dataset, Sampler

from datamodules.bad_sample import BadSample
from datamodules.clip import cut
from datamodules.form import Form, only
from datamodules.order import Mixture, ShardShuffle, positions_of
from datamodules.shards import Sample, decode
from hallo3_lightning.batch import Bad, Batch
from hallo3_lightning.errors import UsageError
from hallo3_lightning.geometry import latent_frames
from hallo3_lightning.randomness import drawn

ENDLESS = 10**9
"""Length given for a stream that never ends: Lightning fetches one batch more than it trains on where there is none."""

ATTEMPTS = 16
"""Samples in a row that may be bad before reading gives up."""

Members = Mapping[str, bytes]


class Samples(Protocol):
    """What the loader reads from: an Index, or one joined with signals that were computed ahead."""

    @property
    def name(self) -> str:
        """Where they are."""

    @property
    def digest(self) -> str:
        """Of all their bytes."""

    samples_per_shard: np.ndarray
    """[S] int64."""

    def __len__(self) -> int: ...

    def key(self, number: int) -> str: ...

    def shard(self, number: int) -> str: ...

    def read(self, number: int) -> Sample:
        """With all its fields."""

    def read_many(self, numbers: Sequence[int], names: Collection[str] | None = None) -> Sequence[Members]:
        """Those members of each, as far as it has them."""


@dataclass(frozen=True)
class Takes:
    """One data set and the clips asked of it.

    samples: where its takes are; frames: of a clip; form: what its clips are like; leading: frames of video that a clip
    carries beside latents that were computed ahead.
    """

    samples: Samples
    frames: int
    form: Form
    leading: int = 8


@dataclass(frozen=True)
class Wanted:
    """Sample `number` of data set `source`, for the clip at `position`; attempt 0, or more for a substitute."""

    position: int
    source: int
    number: int
    attempt: int = 0


class Clips(Dataset[Batch]):
    """The clip at each position, each as a batch of one, read for a whole micro-batch at once.

    What a position shows is a pure function of (seed, position). A sample that is bad is replaced by another of its data
    set, drawn from (seed, position, attempt), and said in `bad`. An outage (OSError) is raised, never replaced: that
    would change the order.
    """

    def __init__(self, sources: Sequence[Takes], seed: int) -> None:
        self.sources = tuple(sources)
        self.seed = seed

    def wanted(self, position: int) -> Wanted:
        """Which sample stands at a position."""
        raise NotImplementedError

    def clip(self, sample: Sample, takes: Takes, ask: Wanted) -> Batch:
        """The clip of the sample that was asked for, as a batch of one."""
        raise NotImplementedError

    def __getitem__(self, position: int) -> Batch:
        return self.__getitems__([position])[0]

    def __getitems__(self, positions: Sequence[int]) -> list[Batch]:
        clips: dict[int, Batch] = {}
        bad: dict[int, list[Bad]] = {}
        wanted = [self.wanted(position) for position in positions]
        for _ in range(ATTEMPTS):
            for ask, got in zip(wanted, self._read(wanted), strict=True):
                if isinstance(got, BadSample):
                    bad.setdefault(ask.position, []).append(self._told(ask, got))
                else:
                    clips[ask.position] = got
            wanted = [self._substitute(ask) for ask in wanted if ask.position not in clips]
            if not wanted:
                return [_with_bad(clips[position], bad.get(position)) for position in positions]
        last = bad[wanted[0].position][-1]
        raise UsageError(f"{ATTEMPTS} samples in a row are bad, the last one so: {last.message}")

    def _read(self, wanted: Sequence[Wanted]) -> list[Batch | BadSample]:
        """What is cut from each sample, or why nothing is; one call reads all the samples of a source."""
        got: dict[int, Batch | BadSample] = {}
        for source, takes in enumerate(self.sources):
            asked = [ask for ask in wanted if ask.source == source]
            for ask, members in zip(asked, _members(takes, [ask.number for ask in asked]), strict=True):
                got[ask.position] = self._cut(ask, takes, members)
        return [got[ask.position] for ask in wanted]

    def _cut(self, ask: Wanted, takes: Takes, members: Members | BadSample) -> Batch | BadSample:
        if isinstance(members, BadSample):
            return members
        try:
            samples, wanted = takes.samples, takes.form.fields
            sample = decode(members, samples.key(ask.number), samples.shard(ask.number), sound="waveform" in wanted)
            check(sample, takes)
            return self.clip(only(sample, wanted), takes, ask)
        except BadSample as error:
            return error

    def _substitute(self, ask: Wanted) -> Wanted:
        attempt = ask.attempt + 1
        number = drawn(len(self.sources[ask.source].samples), self.seed, "substitute", ask.position, attempt)
        return Wanted(ask.position, ask.source, number, attempt)

    def _told(self, ask: Wanted, error: BadSample) -> Bad:
        samples = self.sources[ask.source].samples
        shard, key = samples.shard(ask.number), samples.key(ask.number)
        message = f"{samples.name}/{'' if error.shard else f'{shard}: '}{error}"
        return Bad(ask.position, ask.attempt, f"{samples.name}/{shard}", key, error.member, error.reason, message)


class TrainingClips(Clips):
    """The endless stream: samples in the global order, each clip starting at a random frame.

    Of a sample with latents, the clip is one of those that they were computed for.
    """

    def __init__(self, sources: Sequence[Takes], mixture: Mixture, orders: Sequence[ShardShuffle], seed: int) -> None:
        super().__init__(sources, seed)
        self.mixture = mixture
        self.orders = tuple(orders)

    def wanted(self, position: int) -> Wanted:
        place = self.mixture(position)
        return Wanted(position, place.source, self.orders[place.source](place.position))

    def clip(self, sample: Sample, takes: Takes, ask: Wanted) -> Batch:
        position, frames = ask.position, sample.facts["frames"]
        reference = drawn(frames, self.seed, "reference_frame", position)
        if sample.latents is None:
            start = drawn(frames - takes.frames + 1, self.seed, "clip_start", position)
            return cut(sample, position, start, takes.frames, reference)
        number = drawn(len(sample.latents["starts"]), self.seed, "clip_start", position)
        start = int(sample.latents["starts"][number])
        return cut(sample, position, start, takes.frames, reference, latents=number, shown=takes.leading)


class HeldOutClips(Clips):
    """The first `count` samples in their order, each from its first frame on; positions behind them fill batches up.

    What fills up, or stands in for a bad sample, is a clip that is counted elsewhere, the same in every number.
    """

    def __init__(self, takes: Takes, count: int, seed: int) -> None:
        super().__init__([takes], seed)
        self.count = count

    def wanted(self, position: int) -> Wanted:
        return Wanted(position, 0, position % self.count)

    def clip(self, sample: Sample, takes: Takes, ask: Wanted) -> Batch:
        reference = drawn(sample.facts["frames"], self.seed, "reference_frame", ask.number)
        counted = ask.number == ask.position
        return cut(sample, ask.number, 0, takes.frames, reference).with_(counted=torch.tensor([counted]))

    def _substitute(self, ask: Wanted) -> Wanted:
        return Wanted(ask.position, 0, (ask.number + 1) % self.count, ask.attempt + 1)


class GlobalBatches(Sampler[list[int]]):
    """The positions of one rank's micro-batches without end, from where `start` says when reading begins."""

    def __init__(self, start: Callable[[], int], rank: int, world: int, batch_size: int) -> None:
        self.start = start
        self.rank = rank
        self.world = world
        self.batch_size = batch_size

    def __iter__(self) -> Iterator[list[int]]:
        start = self.start()
        for step in itertools.count():
            yield list(positions_of(step, start, self.rank, self.world, self.batch_size))

    def __len__(self) -> int:
        return ENDLESS


def check(sample: Sample, takes: Takes) -> None:
    """Raise BadSample unless a clip like the others can be cut from a sample."""
    facts = sample.facts
    if facts["frames"] < takes.frames:
        have = f"has {facts['frames']} frames, a clip of {takes.frames} was asked for"
        raise _bad(sample, "too short", f"{have}; ask for shorter clips or make longer takes")
    misfit = takes.form.misfit(Form.of(sample))
    if misfit is not None:
        raise _bad(sample, *misfit)
    latents, frames = sample.latents, latent_frames(takes.frames)
    if latents is not None and latents["latents"].shape[1] != frames:
        have = f"has latents of {latents['latents'].shape[1]} frames, a clip of {takes.frames} has {frames}"
        raise _bad(sample, "other size", f"{have}; compute them with the clip_frames of the run")


def _members(takes: Takes, numbers: Sequence[int]) -> list[Members | BadSample]:
    """The members of each sample, or why they cannot be had."""
    try:
        return list(takes.samples.read_many(numbers, takes.form.members))
    except BadSample as error:
        if len(numbers) == 1:
            return [error]
        return [found for number in numbers for found in _members(takes, [number])]


def _with_bad(clip: Batch, bad: Sequence[Bad] | None) -> Batch:
    return clip.with_(bad=tuple(bad)) if bad else clip


def _bad(sample: Sample, reason: str, what: str) -> BadSample:
    return BadSample(f"sample '{sample.key}' {what}", key=sample.key, reason=reason)
