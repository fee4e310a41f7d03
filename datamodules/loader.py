"""From positions in the global order to batches: which clip stands at a position, and who reads which."""

import itertools
from collections.abc import Iterator

import numpy as np
import torch
from einops import rearrange
from torch import Tensor
from torch.utils.data import Dataset, Sampler

from datamodules.index import Index
from datamodules.order import positions_of, sample_at
from datamodules.shards import Sample
from hallo3_lightning.batch import Batch
from hallo3_lightning.errors import UsageError
from hallo3_lightning.geometry import AUDIO_CONTEXT_FRAMES, audio_samples
from hallo3_lightning.randomness import generator

ENDLESS = 10**9
"""Length given for a stream that never ends: Lightning skips a batch on resume for a loader without a length."""


class Clips(Dataset[Batch]):
    """The clip at each position, as a batch of one: what it shows is a pure function of (seed, position)."""

    def __init__(self, index: Index, frames: int, seed: int) -> None:
        self.index = index
        self.frames = frames
        self.seed = seed

    def sample_number(self, position: int) -> int:
        """Which sample of the index stands at that position."""
        return position

    def start(self, position: int, latest: int) -> int:
        """First frame of the clip, at most `latest`."""
        return 0

    def __getitem__(self, position: int) -> Batch:
        sample = self.index.read(self.sample_number(position))
        frames = sample.facts["frames"]
        if frames < self.frames:
            raise UsageError(
                f"{self.index.folder}: sample '{sample.key}' has {frames} frames, a clip of {self.frames} was asked for; "
                "ask for shorter clips or make longer takes"
            )
        start = self.start(position, frames - self.frames)
        reference = _whole(frames, self.seed, "reference_frame", position)
        return cut(sample, position, start, self.frames, reference)


class TrainingClips(Clips):
    """The endless stream: samples in the global order, each clip starting at a random frame."""

    def sample_number(self, position: int) -> int:
        return sample_at(self.seed, position, len(self.index))

    def start(self, position: int, latest: int) -> int:
        return _whole(latest + 1, self.seed, "clip_start", position)


class GlobalBatches(Sampler[list[int]]):
    """The positions of one rank's micro-batches, from `start` on and without end."""

    def __init__(self, start: int, rank: int, world: int, batch_size: int) -> None:
        self.start = start
        self.rank = rank
        self.world = world
        self.batch_size = batch_size

    def __iter__(self) -> Iterator[list[int]]:
        for step in itertools.count():
            yield list(positions_of(step, self.start, self.rank, self.world, self.batch_size))

    def __len__(self) -> int:
        return ENDLESS


def cut(sample: Sample, position: int, start: int, frames: int, reference: int) -> Batch:
    """Frames [start, start + frames) of a sample with frame `reference` as its portrait: a batch of one."""
    clip = slice(start, start + frames)
    truth = None
    if sample.truth is not None:
        truth = {name: _one(track[clip]) for name, track in sample.truth.items()}
    return Batch(
        keys=(sample.key,),
        positions=torch.tensor([position]),
        starts=torch.tensor([start]),
        captions=(sample.caption,),
        video=rearrange(_one(sample.video[clip]), "b f h w c -> b f c h w"),
        reference=rearrange(_one(sample.video[reference]), "b h w c -> b c h w"),
        face_mask=_face_mask(sample),
        waveform=_waveform(sample, start, frames),
        face_embedding=None if sample.face_embedding is None else _one(sample.face_embedding),
        truth=truth,
    )


def _face_mask(sample: Sample) -> Tensor:
    """[1, 1, H, W], 1 inside the sample's face box."""
    x0, y0, x1, y1 = sample.facts["face_box"]
    mask = torch.zeros(1, 1, sample.facts["height"], sample.facts["width"])
    mask[..., y0:y1, x0:x1] = 1
    return mask


def _waveform(sample: Sample, start: int, frames: int) -> Tensor:
    """[1, S] in [-1, 1]: the clip and AUDIO_CONTEXT_FRAMES on either side, zeros where the take has ended."""
    first = audio_samples(start - AUDIO_CONTEXT_FRAMES)
    last = audio_samples(start + frames + AUDIO_CONTEXT_FRAMES)
    wanted = np.zeros(last - first, np.float32)
    inside = slice(max(first, 0), min(last, len(sample.waveform)))
    wanted[inside.start - first : inside.stop - first] = sample.waveform[inside] / np.float32(32768)
    return _one(wanted)


def _one(array: np.ndarray) -> Tensor:
    """A batch of one of an array."""
    return torch.from_numpy(array)[None]


def _whole(high: int, seed: int, purpose: str, position: int) -> int:
    """A whole number in [0, high) by (seed, purpose, position)."""
    return int(torch.randint(high, (), generator=generator(seed, purpose, position)))
