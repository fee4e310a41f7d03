"""The data sets that training mixes, and what clips of them are like."""

import hashlib
import json
import logging
from collections.abc import Sequence
from dataclasses import dataclass, replace

from datamodules.bad_sample import BadSample
from datamodules.form import Form
from datamodules.loader import Samples, Takes
from datamodules.order import Mixture, ShardShuffle, mix64
from hallo3_lightning.errors import UsageError
from hallo3_lightning.geometry import is_clip_length

log = logging.getLogger(__name__)

PROBED = 32
"""Samples looked at, from the first on, for one that shows what clips of a data set are like."""


@dataclass(frozen=True)
class Source:
    """One data set of a mixture.

    Args:
        shards: folder or URL that holds train/*.tar.
        weight: clips of it in every block of as many clips (or units of mix_unit) as the weights add up to.
        clip_frames: frames of its clips, 1 + 4k; data.clip_frames by default.
    """

    shards: str
    weight: int = 1
    clip_frames: int | None = None


@dataclass(frozen=True)
class Order:
    """What stands where in training: which source, which of its samples, and how long its clips are.

    window, unit: as in ShardShuffle and Mixture; frames: of a clip, by source.
    """

    samples: tuple[Samples, ...]
    weights: tuple[int, ...]
    frames: tuple[int, ...]
    seed: int
    window: int
    unit: int

    @property
    def fingerprint(self) -> str:
        """Of all that decides which clip stands at which position."""
        alone = len(self.samples) == 1
        known = {
            "seed": self.seed,
            "window": self.window,
            "mixture": None if alone else [self.unit, self.weights],
            "sources": [[one.digest, frames] for one, frames in zip(self.samples, self.frames, strict=True)],
        }
        return hashlib.blake2b(json.dumps(known).encode(), digest_size=8).hexdigest()

    def mixture(self) -> Mixture:
        """Which source stands at each position."""
        return Mixture(self.weights, self.seed, self.unit)

    def shuffles(self) -> list[ShardShuffle]:
        """The order within each source; the first one's is that of a source alone."""
        seeds = [mix64(mix64(self.seed) + number) if number else self.seed for number in range(len(self.samples))]
        return [
            ShardShuffle(samples.samples_per_shard, seed, self.window)
            for samples, seed in zip(self.samples, seeds, strict=True)
        ]


def training_takes(samples: Sequence[Samples], frames: Sequence[int], leading: int) -> list[Takes]:
    """What is read for training: the fields that all sources have, without what training has no use for."""
    takes = [Takes(one, count, form_of(one, count), leading) for one, count in zip(samples, frames, strict=True)]
    shared = frozenset.intersection(*(one.form.fields for one in takes)) - {"truth"}
    if "audio_features" in shared:
        shared -= {"waveform"}
    _warn_of_unused(takes, shared)
    cut = [replace(one, form=one.form.only(shared)) for one in takes]
    _refuse_other_shapes(cut)
    return cut


def held_out_takes(samples: Samples, frames: int) -> Takes:
    """What is read for validation and test: whole clips with their truth, and no latents of other clips."""
    form = form_of(samples, frames)
    return Takes(samples, frames, form.only(form.fields - {"latents"}))


def _warn_of_unused(takes: Sequence[Takes], shared: frozenset[str]) -> None:
    """Say which fields are not read since not all sources have them: what was computed ahead would seem to be used."""
    for field in sorted(frozenset.union(*(one.form.fields for one in takes)) - shared - {"truth"}):
        lacking = [one.samples.name for one in takes if field not in one.form.fields]
        if lacking:
            have = " and ".join(one.samples.name for one in takes if field in one.form.fields)
            log.warning(
                "%s of %s is not used: %s of the same mixture has none; compute it for all of them (hallo3 cache), or for none",
                field, have, " and ".join(lacking),
            )  # fmt: skip


def _refuse_other_shapes(takes: Sequence[Takes]) -> None:
    """One network reads all sources: only the sizes of their pictures may differ."""
    first, known = takes[0], _widths(takes[0].form)
    for one in takes[1:]:
        for name, shape in _widths(one.form).items():
            if known.get(name) != shape:
                raise UsageError(
                    f"{name} is {list(shape)} in {one.samples.name} and {list(known.get(name, ()))} in {first.samples.name}; "
                    "compute it with the same encoder for all sources of the mixture"
                )


def _widths(form: Form) -> dict[str, tuple[int, ...]]:
    """The shapes of the fields, that of latents without their height and width, which go with the picture's."""
    return {name: shape[:1] if name == "latents" else shape for name, shape in form.shapes}


def form_of(samples: Samples, frames: int) -> Form:
    """Size and fields of the first sample that a clip of so many frames can be cut from; bad ones are passed over.

    Raises UsageError where none of the first can be used.
    """
    if not len(samples):
        raise UsageError(f"{samples.name} holds no sample; index it again, or name another folder")
    fault = ""
    for number in range(min(PROBED, len(samples))):
        try:
            sample = samples.read(number)
        except BadSample as error:
            fault = fault or f"{samples.name}: {error}"
            continue
        facts = sample.facts
        if facts["frames"] >= frames:
            return Form.of(sample)
        have = f"sample '{sample.key}' has {facts['frames']} frames, a clip of {frames} was asked for"
        fault = fault or f"{samples.name}: {have}; ask for shorter clips or make longer takes"
    raise UsageError(fault)


def differ(takes: Sequence[Takes]) -> bool:
    """Whether clips of different sources cannot be in one batch."""
    return len({(one.frames, one.form.height, one.form.width) for one in takes}) > 1


def checked_frames(frames: int) -> int:
    """The length of a clip; raises UsageError unless it is 1 + 4k."""
    if not is_clip_length(frames):
        near = max(1 + 4 * round((frames - 1) / 4), 1)
        raise UsageError(f"clip_frames is {frames}; the autoencoder needs 1 + 4k frames, such as {near}")
    return frames
