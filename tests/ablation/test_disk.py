"""Room for the checkpoints of a grid, told from the sizes of its networks."""

from collections import namedtuple
from pathlib import Path

import pytest

from hallo3_lightning.ablation import disk
from hallo3_lightning.ablation.disk import checkpoint_bytes, refuse_full_disk
from hallo3_lightning.ablation.jobs import Job
from hallo3_lightning.ablation.meaning import resolve
from hallo3_lightning.ablation.runs import RunFolder, Status
from hallo3_lightning.errors import UsageError

TINY = Path(__file__).parents[2] / "experiments" / "tiny"
Usage = namedtuple("Usage", "total used free")

ON_DISK = {"identity": 20_810_659, "audio": 13_842_246}
"""Bytes of a checkpoint of the demo, as `du -b` counts them; adaLN."""


@pytest.mark.parametrize("phase", ON_DISK)
def test_a_checkpoint_is_as_large_as_one_that_was_written(phase):
    config = resolve([TINY / f"{phase}.yaml"], {"model.audio": "adaln"} if phase == "audio" else {})
    assert checkpoint_bytes(config) == pytest.approx(ON_DISK[phase], rel=0.02)


def test_a_disk_that_is_too_small_is_refused_before_anything_runs(tmp_path, monkeypatch):
    config = resolve([TINY / "identity.yaml"], {"run.checkpoints_kept": 1})
    jobs = [Job(f"run{i}", RunFolder(tmp_path / f"run{i}"), config) for i in range(3)]
    room = 3 * (2 * 1.1 * checkpoint_bytes(config) + disk.BESIDE_BYTES)
    asked = []

    def free(folder):
        asked.append(folder)
        return Usage(0, 0, left)

    monkeypatch.setattr(disk.shutil, "disk_usage", free)
    left = room + 1
    refuse_full_disk(jobs, tmp_path / "not" / "there")
    assert asked == [tmp_path]
    left = room - 1
    with pytest.raises(UsageError, match=r"has 148 MB free and the grid needs about 148 MB.*run.checkpoints_kept"):
        refuse_full_disk(jobs, tmp_path)
    (tmp_path / "run0/checkpoints/step=1.ckpt").mkdir(parents=True)
    (tmp_path / "run0/checkpoints/step=1.ckpt/weights").write_bytes(b"0" * 1000)
    refuse_full_disk(jobs, tmp_path)
    RunFolder(tmp_path / "run1").record(Status("finished"))
    left = 0.7 * room
    refuse_full_disk(jobs, tmp_path)
