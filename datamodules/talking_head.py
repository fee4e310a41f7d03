"""TalkingHead: the shards of a folder as Lightning's training, validation and test data."""

import hashlib
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from lightning import LightningDataModule
from torch.utils.data import DataLoader

from datamodules.index import Index, open_index
from datamodules.loader import Clips, GlobalBatches, TrainingClips
from hallo3_lightning.batch import Batch, joined
from hallo3_lightning.errors import UsageError
from hallo3_lightning.geometry import is_clip_length


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
    ) -> None:
        """
        Args:
            shards: Folder that holds train/*.tar and held_out/*.tar; `hallo3 synthesize` makes one.
            clip_frames: Frames of a training or validation clip, 1 + 4k.
            batch_size: Clips in a micro-batch of one rank.
            eval_batch_size: Clips in a batch of validation or test.
            eval_frames: Frames of a test clip; more than clip_frames makes the sampler join windows.
            num_workers: Processes that read and decode; 0 reads in the training process. Does not change the order.
            seed: Of the order of samples, the first frame of each clip and its reference frame.
            validation_clips: Only the first so many held-out clips are validated on; all by default.
            test_clips: Only the first so many held-out clips are tested on; all by default.
        """
        super().__init__()
        if not is_clip_length(clip_frames):
            near = 1 + 4 * round((clip_frames - 1) / 4)
            raise UsageError(
                f"clip_frames is {clip_frames}; the autoencoder needs 1 + 4k frames, such as {max(near, 1)}"
            )
        counts = {"batch_size": batch_size, "eval_batch_size": eval_batch_size, "eval_frames": eval_frames}
        for name, count in counts.items():
            if count < 1:
                raise UsageError(f"{name} is {count}; it must be at least 1")
        self.shards = Path(shards)
        self.clip_frames = clip_frames
        self.batch_size = batch_size
        self.eval_batch_size = eval_batch_size
        self.eval_frames = eval_frames
        self.num_workers = num_workers
        self.seed = seed
        self.validation_clips = validation_clips
        self.test_clips = test_clips
        self.samples_seen = 0
        self._resumed_fingerprint: str | None = None

    @cached_property
    def train_index(self) -> Index:
        return open_index(self._folder("train"))

    @cached_property
    def held_out_index(self) -> Index:
        return open_index(self._folder("held_out"))

    @property
    def fingerprint(self) -> str:
        """Of what the training order depends on: the bytes of the shards and the seed."""
        return hashlib.blake2b(f"{self.train_index.digest}/{self.seed}".encode(), digest_size=8).hexdigest()

    @property
    def data_fingerprint(self) -> str:
        """Of the bytes of both splits, as `hallo3 synthesize` writes it into dataset.json; "none" for an absent split."""
        return "-".join(
            index().digest if self._folder(split).is_dir() else "none"
            for split, index in (("train", lambda: self.train_index), ("held_out", lambda: self.held_out_index))
        )

    @property
    def num_test_clips(self) -> int:
        """Held-out clips that a test generates."""
        return len(self.held_out_index) if self.test_clips is None else min(self.test_clips, len(self.held_out_index))

    def prepare_data(self) -> None:
        """Index the shards, once a node, before the ranks open them."""
        open_index(self._folder("train"))
        open_index(self._folder("held_out"))

    def setup(self, stage: str) -> None:
        """Read one clip of what the stage needs, so that missing or short takes stop a run before its first step."""
        if stage == "fit":
            self.first_batch()
        _ = self._held_out(self.eval_frames if stage in ("test", "predict") else self.clip_frames)[0]

    def first_batch(self) -> Batch:
        """The first clip of the training order, to see which fields these shards give; reads one sample."""
        return TrainingClips(self.train_index, self.clip_frames, self.seed)[0]

    def train_dataloader(self) -> DataLoader[Batch]:
        """The endless stream from `samples_seen` on."""
        self._check_resumed()
        rank, world = self._place()
        return DataLoader(
            TrainingClips(self.train_index, self.clip_frames, self.seed),
            batch_sampler=GlobalBatches(self.samples_seen, rank, world, self.batch_size),
            num_workers=self.num_workers,
            collate_fn=joined,
            pin_memory=torch.cuda.is_available(),
            persistent_workers=self.num_workers > 0,
        )

    def val_dataloader(self) -> DataLoader[Batch]:
        """Held-out clips in order, each once, from their first frame on."""
        return self._evaluation(self.clip_frames, self.validation_clips)

    def test_dataloader(self) -> DataLoader[Batch]:
        """As validation, with eval_frames frames."""
        return self._evaluation(self.eval_frames, self.test_clips)

    def predict_dataloader(self) -> DataLoader[Batch]:
        """As test."""
        return self.test_dataloader()

    def trained(self, batch: Batch) -> None:
        """Count a batch that the phase has trained on; it must be the one that the order has next.

        Counting here and not in the loader leaves out what was prefetched and never trained.
        """
        rank, world = self._place()
        expected = self.samples_seen + rank * self.batch_size
        assert batch.positions is not None
        if int(batch.positions[0]) != expected:
            raise RuntimeError(
                f"trained on a batch that starts at position {int(batch.positions[0])}, the order has {expected} next: "
                "a batch was skipped, repeated or not counted"
            )
        self.samples_seen += world * self.batch_size

    def state_dict(self) -> dict[str, Any]:
        """Progress in the global order, equal on all ranks."""
        return {"samples_seen": self.samples_seen, "fingerprint": self.fingerprint}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on behind what was trained; that the data are the same is checked when training asks for them."""
        self.samples_seen = state["samples_seen"]
        self._resumed_fingerprint = state["fingerprint"]

    def _check_resumed(self) -> None:
        if self._resumed_fingerprint not in (None, self.fingerprint):
            raise UsageError(
                f"{self.shards}: the shards or the seed are not those of the checkpoint (fingerprint {self.fingerprint}, "
                f"checkpoint {self._resumed_fingerprint}); resume with the same data and seed, or start a new run"
            )

    def _evaluation(self, frames: int, clips: int | None) -> DataLoader[Batch]:
        rank, world = self._place()
        dataset = self._held_out(frames)
        wanted = len(self.held_out_index) if clips is None else min(clips, len(self.held_out_index))
        return DataLoader(
            dataset,
            sampler=range(rank, wanted, world),
            batch_size=self.eval_batch_size,
            num_workers=self.num_workers,
            collate_fn=joined,
            pin_memory=torch.cuda.is_available(),
        )

    def _held_out(self, frames: int) -> Clips:
        return Clips(self.held_out_index, frames, self.seed)

    def _folder(self, split: str) -> Path:
        if not self.shards.is_dir():
            raise UsageError(
                f"no shards: {self.shards} is not a folder; make one with: hallo3 synthesize {self.shards}"
            )
        return self.shards / split

    def _place(self) -> tuple[int, int]:
        """This process's rank among the ranks that read different data, and their number."""
        if self.trainer is None:
            return 0, 1
        return self.trainer.global_rank, self.trainer.world_size
