"""TalkingHead: shards of talking heads as Lightning's training, validation and test data."""

import logging
import math
from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from lightning import LightningDataModule, Trainer
from torch.utils.data import DataLoader

from datamodules.bad_samples import BadSamples
from datamodules.cached import joined as joined_with
from datamodules.index import Index, open_index
from datamodules.loader import GlobalBatches, HeldOutClips, Samples, Takes, TrainingClips
from datamodules.sources import Order, Source, checked_frames, differ, held_out_takes, training_takes
from datamodules.stores import is_url
from hallo3_lightning.batch import Batch, joined
from hallo3_lightning.errors import UsageError

log = logging.getLogger(__name__)


class TalkingHead(LightningDataModule):
    """Clips of talking heads with sound, cut from WebDataset shards (datamodules/shards.py says what a sample is).

    The training order is a function of (seed, position) alone; progress is one integer, the positions trained, so a
    run resumes exactly with any number of workers and ranks. The phase calls `trained(batch)` after each batch.
    """

    def __init__(
        self,
        shards: str,
        clip_frames: int = 17,
        batch_size: int = 16,
        eval_batch_size: int = 16,
        eval_frames: int = 32,
        num_workers: int = 0,
        seed: int = 0,
        validation_clips: int | None = None,
        test_clips: int | None = None,
        mixture: Sequence[Source] | None = None,
        window: int = 0,
        mix_unit: int = 1,
        cache: Sequence[str] | None = None,
        leading_frames: int = 8,
        strict: bool = False,
        max_bad_fraction: float = 0.05,
    ) -> None:
        """
        Args:
            shards: Folder or URL that holds train/*.tar and held_out/*.tar; `hallo3 synthesize` makes one.
            clip_frames: Frames of a training or validation clip, 1 + 4k.
            batch_size: Clips in a micro-batch of one rank.
            eval_batch_size: Clips in a batch of validation or test.
            eval_frames: Frames of a test clip; more than clip_frames makes the sampler join windows.
            num_workers: Processes that read and decode; 0 reads in the training process. Does not change the order.
            seed: Of the order of samples, the first frame of each clip and its reference frame.
            validation_clips: Only the first so many held-out clips are validated on; all by default.
            test_clips: Only the first so many held-out clips are tested on; all by default.
            mixture: Data sets to train on instead of `shards`, which then gives the held-out clips alone.
            window: Shards whose samples are shuffled together; 0 shuffles all. A small one reads few shards at a time.
            mix_unit: Clips in a row that come from one source of the mixture; where clips of the sources differ in
                length or size, a multiple of batch_size.
            cache: Folders of signals that `hallo3 cache` computed ahead for the shards.
            leading_frames: Frames of video that a training clip carries beside cached latents, for the motion frames.
            strict: The first bad sample stops the run; else another sample stands in for it.
            max_bad_fraction: Share of clips that may meet a bad sample before the run stops.
        """
        super().__init__()
        counts = {"batch_size": batch_size, "eval_batch_size": eval_batch_size, "eval_frames": eval_frames}
        for name, count in (counts | {"leading_frames": leading_frames}).items():
            if count < 1:
                raise UsageError(f"{name} is {count}; it must be at least 1")
        if not 0 <= max_bad_fraction <= 1:
            raise UsageError(f"max_bad_fraction is {max_bad_fraction}; it is a share, from 0 to 1")
        self.shards = shards
        self.clip_frames = checked_frames(clip_frames)
        # a resolved config has its sources as plain mappings
        mixed = [Source(**source) if isinstance(source, Mapping) else source for source in mixture or ()]
        self.sources = mixed or [Source(shards)]
        self.batch_size = batch_size
        self.eval_batch_size = eval_batch_size
        self.eval_frames = eval_frames
        self.num_workers = num_workers
        self.seed = seed
        self.validation_clips = validation_clips
        self.test_clips = test_clips
        self.window = window
        self.mix_unit = mix_unit
        self.cache = tuple(cache or ())
        self.leading_frames = leading_frames
        self.strict = strict
        self.max_bad_fraction = max_bad_fraction
        self.samples_seen = 0
        self._trained_to = 0
        self._step = 0
        self._resumed_fingerprint: str | None = None

    # -- what there is -------------------------------------------------------------------------------------------

    @cached_property
    def train_indexes(self) -> tuple[Index, ...]:
        """One for each source."""
        return tuple(self._opened(source.shards, "train") for source in self.sources)

    @cached_property
    def held_out_index(self) -> Index:
        """Of what is validated and tested on."""
        return self._opened(self.shards, "held_out")

    @cached_property
    def train_samples(self) -> tuple[Samples, ...]:
        """The indexes with what was computed ahead for them."""
        return joined_with(self.train_indexes, self.cache, "train", self._clip_frames)

    @cached_property
    def held_out_samples(self) -> Samples:
        """The index with what was computed ahead for it, if it was: a mixture's caches may be of other data sets."""
        return joined_with([self.held_out_index], self.cache, "held_out", [self.clip_frames], every_cache=False)[0]

    @cached_property
    def order(self) -> Order:
        """The training order; reads no sample."""
        return Order(
            samples=self.train_samples,
            weights=tuple(source.weight for source in self.sources),
            frames=self._clip_frames,
            seed=self.seed,
            window=self.window,
            unit=self.mix_unit,
        )

    @property
    def fingerprint(self) -> str:
        """Of all that the training order depends on: the bytes of the shards, their mixture, clip lengths, the seed."""
        return self.order.fingerprint

    @property
    def num_test_clips(self) -> int:
        """Held-out clips that a test generates."""
        return self._count(self.test_clips)

    @cached_property
    def bad_samples(self) -> BadSamples:
        """What this process met, listed in the run's folder."""
        return BadSamples(self.max_bad_fraction, self.strict, self._list_of_bad())

    # -- Lightning's hooks ---------------------------------------------------------------------------------------

    def prepare_data(self) -> None:
        """Index the shards, once a node, before the ranks open them."""
        places = [(source.shards, "train") for source in self.sources]
        for index in (self._opened(*place) for place in [*places, (self.shards, "held_out")]):
            if index.problems:
                first, count = index.problems[0], len(index.problems)
                what = f"{first.shard} '{first.key}': {first.reason}"
                log.warning("%s: %d faults leave samples out (hallo3 index lists them): %s", index.name, count, what)

    def setup(self, stage: str) -> None:
        """Read one clip of what the stage needs, so that missing or short takes stop a run before its first step."""
        if stage == "fit":
            self.first_batch()
        _ = self._held_out(self.eval_frames if stage in ("test", "predict") else self.clip_frames, None)[0]

    def teardown(self, stage: str) -> None:
        """Say how many samples were bad."""
        self.bad_samples.say_total()

    def first_batch(self) -> Batch:
        """The first clip of the training order, to see which fields these shards give."""
        return self._training()[0]

    def train_dataloader(self) -> DataLoader[Batch]:
        """The endless stream from `samples_seen` on."""
        self._check_resumed()
        rank, world = self._place()
        if differ(self._training_takes) and (self.mix_unit % self.batch_size or self.samples_seen % self.batch_size):
            raise UsageError(
                f"clips of the mixture differ in length or size, so each batch must be of one source: mix_unit "
                f"{self.mix_unit} and the {self.samples_seen} clips seen must be multiples of batch_size {self.batch_size}"
            )
        self._trained_to = self.samples_seen
        self._step = 0 if self.trainer is None else self.trainer.global_step
        return DataLoader(
            self._training(),
            batch_sampler=GlobalBatches(lambda: self._trained_to, rank, world, self.batch_size),
            num_workers=self.num_workers,
            collate_fn=joined,
            pin_memory=torch.cuda.is_available(),
            persistent_workers=self.num_workers > 0,
        )

    def val_dataloader(self) -> DataLoader[Batch]:
        """Held-out clips in order, each once, from their first frame on; see `Batch.counted`."""
        return self._evaluation(self.clip_frames, self.validation_clips)

    def test_dataloader(self) -> DataLoader[Batch]:
        """As validation, with eval_frames frames."""
        return self._evaluation(self.eval_frames, self.test_clips)

    def predict_dataloader(self) -> DataLoader[Batch]:
        """As test."""
        return self.test_dataloader()

    def on_before_batch_transfer(self, batch: Batch, dataloader_idx: int) -> Batch:
        """Bad samples are counted here: in the process that trains, before it trains on what stands in for them."""
        self.bad_samples.take(batch)
        return batch

    def trained(self, batch: Batch) -> None:
        """Count a batch that the phase has trained on; it must be the one that the order has next.

        Counting here and not in the loader leaves out what was prefetched and never trained. A checkpoint holds what
        optimizer steps were made of: gradients gathered since the last one are lost with the process, so are not seen.
        """
        rank, world = self._place()
        expected = self._trained_to + rank * self.batch_size
        assert batch.positions is not None
        if int(batch.positions[0]) != expected:
            raise RuntimeError(
                f"trained on a batch that starts at position {int(batch.positions[0])}, the order has {expected} next: "
                "a batch was skipped, repeated or not counted"
            )
        self._trained_to += world * self.batch_size
        if self.trainer is None or self.trainer.global_step != self._step:
            self.samples_seen = self._trained_to
            self._step = 0 if self.trainer is None else self.trainer.global_step

    def state_dict(self) -> dict[str, Any]:
        """Progress in the global order, equal on all ranks."""
        return {"samples_seen": self.samples_seen, "fingerprint": self.fingerprint}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on behind what was trained; that the data are the same is checked when training asks for them."""
        self.samples_seen = self._trained_to = state["samples_seen"]
        self._resumed_fingerprint = state["fingerprint"]

    def _check_resumed(self) -> None:
        if self._resumed_fingerprint not in (None, self.fingerprint):
            raise UsageError(
                f"{' + '.join(source.shards for source in self.sources)}: the shards, their order or the seed are not those of "
                f"the checkpoint (fingerprint {self.fingerprint}, checkpoint {self._resumed_fingerprint}); resume with the "
                "same data and seed, or start a new run"
            )

    def _evaluation(self, frames: int, clips: int | None) -> DataLoader[Batch]:
        rank, world = self._place()
        dataset = self._held_out(frames, clips)
        padded = math.ceil(dataset.count / world) * world
        return DataLoader(
            dataset,
            sampler=range(rank, padded, world),
            batch_size=self.eval_batch_size,
            num_workers=self.num_workers,
            collate_fn=joined,
            pin_memory=torch.cuda.is_available(),
        )

    @cached_property
    def _training_takes(self) -> list[Takes]:
        return training_takes(self.train_samples, self.order.frames, self.leading_frames)

    def _training(self) -> TrainingClips:
        return TrainingClips(self._training_takes, self.order.mixture(), self.order.shuffles(), self.seed)

    def _held_out(self, frames: int, clips: int | None) -> HeldOutClips:
        return HeldOutClips(held_out_takes(self.held_out_samples, frames), self._count(clips), self.seed)

    def _count(self, clips: int | None) -> int:
        return len(self.held_out_index) if clips is None else min(clips, len(self.held_out_index))

    @property
    def _clip_frames(self) -> tuple[int, ...]:
        """Of the clips of each source."""
        return tuple(checked_frames(source.clip_frames or self.clip_frames) for source in self.sources)

    def _opened(self, place: str, split: str) -> Index:
        if is_url(place):
            return open_index(f"{place.rstrip('/')}/{split}", strict=self.strict)
        if not place or not Path(place).is_dir():
            raise UsageError(f"no shards: {place} is not a folder; make one with: hallo3 synthesize {place}")
        return open_index(Path(place) / split, strict=self.strict)

    def _list_of_bad(self) -> Path | None:
        """In the run's folder; a file for each rank, so that no two write one."""
        if self.trainer is None:
            return None
        rank = self.trainer.global_rank
        return Path(self.trainer.default_root_dir) / (f"bad_samples-rank{rank}.jsonl" if rank else "bad_samples.jsonl")

    def _place(self) -> tuple[int, int]:
        return (0, 1) if self.trainer is None else data_parallel_place(self.trainer)


def data_parallel_place(trainer: Trainer) -> tuple[int, int]:
    """This process's rank among the ranks that read different data, and their number.

    Tensor-parallel ranks read the same: their strategy says so. A strategy of one process says nothing.
    """
    if trainer.world_size > 1 and trainer._accelerator_connector.use_distributed_sampler:  # there is no public way
        raise UsageError("trainer.use_distributed_sampler is true; set it to false: the data say what each rank reads")
    place = trainer.distributed_sampler_kwargs
    return (0, 1) if place is None else (place["rank"], place["num_replicas"])
