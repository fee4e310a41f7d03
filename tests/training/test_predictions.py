"""Where `hallo3 predict` writes: nowhere but in the run's folder, whatever the data call their samples."""

from dataclasses import replace

import numpy as np
from einops import rearrange
from lightning import LightningModule, Trainer
from torch import Tensor
from torch.utils.data import DataLoader

from datamodules.index import open_index
from datamodules.loader import HeldOutClips
from datamodules.shards import write_shard
from datamodules.sources import held_out_takes
from datamodules.synthetic.take import make_take
from hallo3_lightning.ablation.runs import RunFolder
from hallo3_lightning.batch import Batch
from hallo3_lightning.training.record import Predictions

HOSTILE = ("d e", "d%20e", "ü:*", "x/y", "same", "same", "x%2Fy")
"""Those with '..' or from '/' on never come so far: the index refuses them."""


class Truth(LightningModule):
    """Predicts what is there."""

    def predict_step(self, batch: Batch, batch_index: int) -> Tensor:
        assert batch.video is not None
        return batch.video


def test_keys_of_any_kind_stay_within_the_folder_and_are_told_apart(tmp_path):
    (tmp_path / "shards").mkdir()
    for shard, keys in enumerate((HOSTILE[:5], HOSTILE[5:])):
        takes = (replace(make_take(3, 10 * shard + i, frames=5, size=16), key=key) for i, key in enumerate(keys))
        write_shard(tmp_path / f"shards/{shard:06d}.tar", takes)
    run = RunFolder(tmp_path / "runs/a")
    clips = HeldOutClips(held_out_takes(open_index(tmp_path / "shards"), 5), len(HOSTILE), seed=0)
    trainer = Trainer(
        accelerator="cpu", logger=False, callbacks=[Predictions(run)], enable_progress_bar=False,
        enable_model_summary=False, enable_checkpointing=False,
    )  # fmt: skip
    trainer.predict(Truth(), DataLoader(clips, batch_size=None, sampler=range(len(HOSTILE))))
    assert {path.name for path in tmp_path.iterdir()} == {"shards", "runs"}
    files = sorted((run.path / "predictions").iterdir())
    assert len(files) == 2 * len(HOSTILE)
    names = ("d e", "d%2520e", "%C3%BC%3A%2A", "x%2Fy", "same@000000.tar", "same@000001.tar", "x%252Fy")
    for number, name in enumerate(names):
        frames = rearrange(clips[number].video, "1 f c h w -> f h w c").numpy()
        assert np.array_equal(np.load(run.path / f"predictions/{name}.npy"), frames)
