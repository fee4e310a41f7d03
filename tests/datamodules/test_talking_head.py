import itertools
import json

import numpy as np
import pytest
import torch
from lightning import LightningModule, Trainer

from datamodules.loader import GlobalBatches
from datamodules.order import ShardShuffle
from datamodules.talking_head import TalkingHead
from hallo3_lightning.errors import UsageError

TAKES, HELD_OUT, FRAMES = 11, 5, 9
"""What the fixture `heads` has."""


def data(heads, **changes) -> TalkingHead:
    return TalkingHead(
        str(heads), **{"clip_frames": 5, "batch_size": 3, "eval_frames": 8, "eval_batch_size": 2} | changes
    )


def taken(module: TalkingHead, steps: int) -> list:
    """Train that many batches, the loader prefetching what it likes."""
    batches = list(itertools.islice(module.train_dataloader(), steps))
    for batch in batches:
        module.trained(batch)
    return batches


def keys(batches) -> list[str]:
    return [key for batch in batches for key in batch.keys]


def same(one, other) -> bool:
    names = one.present()
    tensors = [name for name in names if isinstance(getattr(one, name), torch.Tensor)]
    return (
        one.keys == other.keys
        and names == other.present()
        and all(torch.equal(getattr(one, name), getattr(other, name)) for name in [*tensors, "positions", "starts"])
    )


def test_every_take_once_an_epoch_whatever_the_number_of_ranks(heads):
    sample_at = ShardShuffle(data(heads).train_index.samples_per_shard, seed=0)
    for world in (1, 2, 4):
        streams = [iter(GlobalBatches(0, rank, world, 3)) for rank in range(world)]
        positions = [p for _ in range(40 // world) for stream in streams for p in next(stream)]
        epoch = [sample_at(p) for p in positions[TAKES : 2 * TAKES]]
        assert sorted(epoch) == list(range(TAKES))


def test_clips_start_anywhere_and_differ_between_epochs(heads):
    batches = taken(data(heads), 60)
    starts = torch.cat([batch.starts for batch in batches])
    assert set(starts.tolist()) == set(range(FRAMES - 5 + 1))
    assert (starts.bincount() / len(starts) > 0.1).all()


@pytest.mark.parametrize("workers", [0, 2])
def test_resume_goes_on_behind_what_was_trained(heads, workers):
    unbroken = taken(data(heads), 9)
    first = data(heads)
    taken(first, 4)
    second = data(heads, num_workers=workers)
    second.load_state_dict(first.state_dict())
    resumed = taken(second, 5)
    assert all(same(one, other) for one, other in zip(unbroken[4:], resumed, strict=True))
    assert second.samples_seen == 27


def test_prefetched_batches_are_not_counted(heads):
    module = data(heads)
    stream = iter(module.train_dataloader())
    first = next(stream)
    next(stream)
    module.trained(first)
    assert module.samples_seen == 3


def test_skipped_batch_is_noticed(heads):
    module = data(heads)
    _, second = itertools.islice(module.train_dataloader(), 2)
    with pytest.raises(RuntimeError, match="position 3, the order has 0 next"):
        module.trained(second)


def test_other_data_or_seed_cannot_be_resumed(heads):
    state = data(heads).state_dict()
    other = data(heads, seed=1)
    other.load_state_dict(state)
    with pytest.raises(UsageError, match="same data and seed"):
        other.train_dataloader()


def test_data_fingerprint_is_that_of_the_data_set_and_knows_both_splits(heads, tmp_path):
    whole = data(heads).data_fingerprint
    assert (
        whole == json.loads((heads / "dataset.json").read_text())["fingerprint"] == data(heads, seed=1).data_fingerprint
    )
    train, held_out = whole.split("-")
    (tmp_path / "held_out").symlink_to(heads / "held_out")
    assert data(tmp_path).data_fingerprint == f"none-{held_out}"
    (tmp_path / "train").symlink_to(heads / "held_out")
    assert data(tmp_path).data_fingerprint == f"{held_out}-{held_out}"
    assert train != held_out


def test_held_out_clips_come_once_in_order(heads):
    module = data(heads)
    validation, test = list(module.val_dataloader()), list(module.test_dataloader())
    numbers = [f"{1_000_000 + n:07d}" for n in range(HELD_OUT)]
    assert keys(validation) == keys(test) == numbers
    assert validation[0].video.shape[1] == 5
    assert test[0].video.shape[1] == 8
    assert not torch.cat([batch.starts for batch in validation + test]).any()


def test_limits_on_held_out_clips(heads):
    module = data(heads, validation_clips=3, test_clips=99)
    assert len(keys(module.val_dataloader())) == 3
    assert len(keys(module.test_dataloader())) == HELD_OUT


def test_identities_of_the_splits_are_disjoint(heads):
    module = data(heads)
    splits = [
        [index.read(n).face_embedding for n in range(len(index))]
        for index in (module.train_index, module.held_out_index)
    ]
    distances = [np.abs(one - other).max() for one in splits[0] for other in splits[1]]
    assert min(distances) > 0.1


def test_clips_have_every_field_that_shards_give_and_truth_is_for_evaluation(heads):
    fields = ["captions", "video", "reference", "face_mask", "waveform", "face_embedding"]
    assert data(heads).first_batch().present() == fields
    assert next(iter(data(heads).test_dataloader())).present() == [*fields, "truth"]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"clip_frames": 6}, "clip_frames is 6; the autoencoder needs 1 \\+ 4k frames, such as 5"),
        ({"batch_size": 0}, "batch_size is 0"),
    ],
)
def test_impossible_arguments_are_refused(heads, changes, message):
    with pytest.raises(UsageError, match=message):
        data(heads, **changes)


def test_training_needs_training_shards_and_testing_does_not(heads, tmp_path):
    (tmp_path / "held_out").symlink_to(heads / "held_out")
    data(tmp_path).setup("test")
    with pytest.raises(UsageError, match=f"{tmp_path}/train does not exist"):
        data(tmp_path).setup("fit")


def test_missing_folder_says_what_to_type(tmp_path):
    with pytest.raises(UsageError, match=f"hallo3 synthesize {tmp_path}/none"):
        data(tmp_path / "none").setup("fit")


@pytest.mark.parametrize(("changes", "stage"), [({"clip_frames": 13}, "fit"), ({"eval_frames": 10}, "test")])
def test_clip_longer_than_take_stops_before_the_first_step(heads, changes, stage):
    with pytest.raises(UsageError, match="has 9 frames, a clip of 1[03] was asked for"):
        data(heads, **changes).setup(stage)


class Counting(LightningModule):
    """Remembers the keys it was trained on."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = torch.nn.Parameter(torch.zeros(1))
        self.keys: list[str] = []

    def training_step(self, batch):
        return (self.weight * batch.video.float().mean()).sum()

    def validation_step(self, batch):
        assert batch.keys

    def on_train_batch_end(self, outputs, batch, batch_idx):
        self.keys += batch.keys
        self.trainer.datamodule.trained(batch)

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), 1e-3)


def trainer(folder, steps: int, **options) -> Trainer:
    return Trainer(
        accelerator="cpu",
        max_steps=steps,
        default_root_dir=folder,
        use_distributed_sampler=False,
        logger=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        val_check_interval=2,
        check_val_every_n_epoch=None,
        **options,
    )


@pytest.mark.filterwarnings("ignore")
def test_lightning_resumes_at_the_next_batch(heads, tmp_path):
    unbroken = Counting()
    trainer(tmp_path, 7, enable_checkpointing=False).fit(unbroken, datamodule=data(heads))
    first, second = Counting(), Counting()
    begun = trainer(tmp_path, 3)
    begun.fit(first, datamodule=data(heads))
    begun.save_checkpoint(tmp_path / "three.ckpt")
    trainer(tmp_path, 7, enable_checkpointing=False).fit(
        second, datamodule=data(heads), ckpt_path=tmp_path / "three.ckpt"
    )
    assert first.keys + second.keys == unbroken.keys
    assert len(unbroken.keys) == 21
