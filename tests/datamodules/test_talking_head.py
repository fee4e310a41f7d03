import itertools
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from lightning import LightningModule, Trainer

from datamodules.loader import GlobalBatches
from datamodules.order import ShardShuffle
from datamodules.shards import write_shard
from datamodules.sources import Source
from datamodules.synthetic import write
from datamodules.talking_head import TalkingHead, data_parallel_place
from hallo3_lightning.errors import UsageError
from hallo3_lightning.training.resume import CountTrained

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
    sample_at = ShardShuffle(data(heads).train_indexes[0].samples_per_shard, seed=0)
    for world in (1, 2, 4):
        streams = [iter(GlobalBatches(lambda: 0, rank, world, 3)) for rank in range(world)]
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


def test_data_set_says_the_digests_of_both_splits(heads):
    told = json.loads((heads / "dataset.json").read_text())["fingerprint"]
    assert told == f"{data(heads).train_indexes[0].digest}-{data(heads).held_out_index.digest}"


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
        for index in (module.train_indexes[0], module.held_out_index)
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
    """Remembers the keys it was trained on, by optimizer step, and saves once at a micro-batch if told to."""

    def __init__(self, save: Path | None = None, at: int = -1) -> None:
        super().__init__()
        self.weight = torch.nn.Parameter(torch.ones(1))
        self.steps: list[list[str]] = []
        self.save, self.at = save, at

    def training_step(self, batch, batch_index):
        self.steps.append([])
        self.steps[self.trainer.global_step - self.first] += batch.keys
        return (self.weight * batch.video.float().mean() / 255).sum()

    def on_train_start(self):
        self.first = self.trainer.global_step

    def on_train_batch_end(self, outputs, batch, batch_index):
        if batch_index == self.at:
            self.trainer.save_checkpoint(self.save)

    def validation_step(self, batch):
        assert batch.keys

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), 1e-3)

    @property
    def trained(self) -> list[list[str]]:
        return [keys for keys in self.steps if keys]


def trainer(folder, steps: int, accumulate: int = 1, **options) -> Trainer:
    return Trainer(
        accelerator="cpu",
        max_epochs=-1,
        max_steps=steps,
        accumulate_grad_batches=accumulate,
        default_root_dir=folder,
        use_distributed_sampler=False,
        logger=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        enable_checkpointing=False,
        num_sanity_val_steps=0,
        callbacks=[CountTrained()],
        check_val_every_n_epoch=None,
        **options,
    )


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(("first", "second"), [((3, 1), (3, 1)), ((3, 2), (1, 6)), ((1, 6), (3, 2)), ((2, 3), (2, 3))])
@pytest.mark.parametrize("saved_behind", [2, 3])
def test_lightning_resumes_at_the_next_step(heads, tmp_path, first, second, saved_behind):
    """(clips of a micro-batch, micro-batches of a step) may change, and a checkpoint may lie within a step.

    `saved_behind`: the checkpoint lies behind so many thirds of the sixth step.
    """
    (clips, accumulate), (clips_after, accumulate_after) = first, second
    at = 5 * accumulate + max(accumulate * saved_behind // 3, 1) - 1
    unbroken, begun, resumed = Counting(), Counting(tmp_path / "saved.ckpt", at), Counting()
    trainer(tmp_path, 9, accumulate, val_check_interval=4).fit(unbroken, datamodule=data(heads, batch_size=clips))
    trainer(tmp_path, 7, accumulate, val_check_interval=4).fit(begun, datamodule=data(heads, batch_size=clips))
    module = data(heads, batch_size=clips_after)
    trainer(tmp_path, 9, accumulate_after, val_check_interval=4).fit(
        resumed, datamodule=module, ckpt_path=tmp_path / "saved.ckpt", weights_only=True
    )
    assert resumed.trained == unbroken.trained[9 - len(resumed.trained) :]
    assert len(resumed.trained) == 9 - (5 + (at + 1) // (6 * accumulate))
    assert module.samples_seen == 9 * clips * accumulate
    torch.testing.assert_close(resumed.weight, unbroken.weight, rtol=0, atol=1e-6)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("workers", [0, 2])
def test_training_in_epochs_goes_on_where_the_last_one_ended(heads, tmp_path, workers):
    endless, in_epochs = Counting(), Counting()
    trainer(tmp_path, 9, 2, val_check_interval=4).fit(endless, datamodule=data(heads))
    limited = trainer(tmp_path, 9, 2, val_check_interval=4, limit_train_batches=4)
    limited.fit(in_epochs, datamodule=data(heads, num_workers=workers))
    assert in_epochs.trained == endless.trained


@pytest.mark.filterwarnings("ignore")
def test_a_distributed_sampler_is_refused(heads):
    two = Trainer(accelerator="cpu", devices=2, strategy="ddp", logger=False, enable_checkpointing=False)
    with pytest.raises(UsageError, match="use_distributed_sampler is true; set it to false"):
        data_parallel_place(two)


@pytest.fixture
def harmed(heads, tmp_path) -> Path:
    """The takes of `heads`, two of which are bad."""
    index = data(heads).train_indexes[0]
    takes = [index.read(number) for number in range(len(index))]
    for number in (3, 7):
        takes[number] = replace(takes[number], face_embedding=takes[number].face_embedding * np.nan)
    (tmp_path / "shards/train").mkdir(parents=True)
    write_shard(tmp_path / "shards/train/a.tar", takes)
    (tmp_path / "shards/held_out").symlink_to(heads / "held_out")
    return tmp_path / "shards"


@pytest.mark.filterwarnings("ignore")
def test_bad_samples_are_counted_listed_once_and_said_once_a_reason(harmed, tmp_path, caplog):
    met = []
    for _ in range(2):
        module = data(harmed, max_bad_fraction=0.5)
        trainer(tmp_path / "run", 12, val_check_interval=6).fit(Counting(), datamodule=module)
        met.append(module.bad_samples.reasons)
    count = met[0].total()
    assert count >= 6, "three epochs meet two each, besides bad ones that were to stand in"
    assert met == [{"non-finite face_embedding": count}] * 2
    lines = [json.loads(line) for line in (tmp_path / "run/bad_samples.jsonl").read_text().splitlines()]
    assert sorted((line["key"], line["reason"]) for line in lines) == [
        ("0000003", "non-finite face_embedding"),
        ("0000007", "non-finite face_embedding"),
    ]
    said = [record.message for record in caplog.records if "bad sample" in record.message]
    assert len(said) == 4
    assert said[0].endswith(f"all are listed in {tmp_path}/run/bad_samples.jsonl)")
    assert said[1] == f"{count} of 46 clips met a bad sample: {count} non-finite face_embedding"


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"strict": True}, r"shards/train/a.tar: sample '000000\d': face_embedding holds numbers .*data.strict"),
        ({"max_bad_fraction": 0.05}, r"6 of \d+ clips met a bad sample \(6 non-finite face_embedding\), more than"),
    ],
)
def test_too_many_bad_samples_stop_the_run_in_one_sentence(harmed, tmp_path, workers, changes, message):
    with pytest.raises(UsageError, match=message) as caught:
        trainer(tmp_path, 12).fit(Counting(), datamodule=data(harmed, num_workers=workers, **changes))
    assert "\n" not in str(caught.value)


def test_faults_of_the_shards_are_said_and_strict_refuses_them(heads, tmp_path, caplog):
    (tmp_path / "held_out").symlink_to(heads / "held_out")
    (tmp_path / "train").mkdir()
    for shard in (heads / "train").glob("*.tar"):
        (tmp_path / "train" / shard.name).write_bytes(shard.read_bytes())
    (tmp_path / "train/zero.tar").write_bytes(b"")
    data(tmp_path).prepare_data()
    assert f"{tmp_path}/train: 1 faults leave samples out" in caplog.text
    with pytest.raises(UsageError, match="1 problems"):
        data(tmp_path, strict=True).prepare_data()


@pytest.fixture
def wider(heads, tmp_path) -> Path:
    """A data set of wider frames and longer takes."""
    write.synthesize(tmp_path / "wider", takes=6, held_out=1, frames=13, size=20, workers=1)
    return tmp_path / "wider"


def test_a_mixture_takes_each_batch_from_one_source(heads, wider):
    mixture = [Source(str(heads), 2), Source(str(wider), 1, clip_frames=9)]
    module = data(heads, mixture=mixture, batch_size=2, mix_unit=4)
    batches = taken(module, 30)
    assert {batch.video.shape[1:] for batch in batches} == {(5, 3, 16, 16), (9, 3, 20, 20)}
    assert [batch.video.shape[1] for batch in batches].count(9) == 10
    assert module.held_out_index.name == f"{heads}/held_out"
    assert data(wider, mixture=mixture).held_out_index.name == f"{wider}/held_out"


def test_a_mixture_of_sizes_needs_batches_within_units(heads, wider):
    mixture = [Source(str(heads)), Source(str(wider))]
    with pytest.raises(UsageError, match="mix_unit 1 and the 0 clips seen must be multiples of batch_size 3"):
        data(heads, mixture=mixture).train_dataloader()


def test_everything_that_changes_the_order_is_in_the_fingerprint(heads, wider):
    two = [Source(str(heads)), Source(str(wider))]
    modules = [
        data(heads),
        data(wider),
        data(heads, seed=1),
        data(heads, window=1),
        data(heads, window=2),
        data(heads, clip_frames=9),
        data(heads, mixture=two),
        data(heads, mixture=two[::-1]),
        data(heads, mixture=[Source(str(heads), 2), two[1]]),
        data(heads, mixture=[Source(str(heads), clip_frames=9), two[1]]),
        data(heads, mixture=two, mix_unit=3),
        data(heads, mixture=two, window=2),
    ]
    assert len({module.fingerprint for module in modules}) == len(modules)
    alike = data(heads, batch_size=5, num_workers=2, eval_frames=5, mix_unit=6, mixture=[Source(str(heads), 7)])
    assert alike.fingerprint == data(heads).fingerprint


def test_a_mixture_may_be_given_in_a_config(heads):
    plain = data(heads, mixture=[{"shards": str(heads), "weight": 3}])
    assert plain.sources == [Source(str(heads), 3)]
    with pytest.raises(UsageError, match="max_bad_fraction is 2"):
        data(heads, max_bad_fraction=2)
