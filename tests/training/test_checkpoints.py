"""Files that are whole or not there, and which one is the newest."""

import pytest
import torch
from torch import nn

from hallo3_lightning.errors import UsageError
from hallo3_lightning.training.checkpoints import (
    WholeFiles,
    newest,
    refuse_another_model,
    refuse_other_sizes,
    step_of,
    weights,
)


def test_the_newest_is_that_of_the_highest_step(tmp_path):
    assert newest(tmp_path) is None
    for name in ("step=9.ckpt", "step=10.ckpt", "step=200.ckpt.tmp", "notes.ckpt"):
        (tmp_path / name).touch()
    assert newest(tmp_path) == tmp_path / "step=10.ckpt"
    assert step_of(tmp_path / "step=10.ckpt") == 10
    assert step_of(tmp_path / "notes.ckpt") == 0


class Breaks:
    """Cannot be saved: stands for a disk that is full or a process that is killed."""

    def __reduce__(self):
        raise OSError("no space left on device")


def test_a_save_that_fails_leaves_the_one_before(tmp_path):
    file = tmp_path / "checkpoints/step=1.ckpt"
    WholeFiles().save_checkpoint({"state_dict": {"a": torch.ones(2)}}, file)
    with pytest.raises(OSError, match="no space"):
        WholeFiles().save_checkpoint({"state_dict": {"a": torch.zeros(2)}, "rest": Breaks()}, file)
    assert weights(file)["a"].tolist() == [1, 1]
    assert newest(file.parent) == file


def test_a_run_gives_its_newest_weights(tmp_path):
    for step in (1, 2):
        WholeFiles().save_checkpoint(
            {"state_dict": {"a": torch.tensor(step)}}, tmp_path / f"checkpoints/step={step}.ckpt"
        )
    assert int(weights(tmp_path)["a"]) == 2
    with pytest.raises(UsageError, match="no checkpoint at"):
        weights(tmp_path / "checkpoints")


def test_no_pickled_object_is_run(tmp_path):
    class Evil:
        def __reduce__(self):
            return (exec, ("raise SystemExit('ran')",))

    torch.save({"state_dict": {}, "evil": Evil()}, tmp_path / "step=1.ckpt")
    with pytest.raises(UsageError, match="is not a checkpoint of ours, or is damaged"):
        weights(tmp_path / "step=1.ckpt")


def test_weights_must_be_those_of_the_model():
    module = nn.Linear(3, 4)
    refuse_another_model(module, module.state_dict(), "it")
    refuse_other_sizes(module, {"weight": torch.zeros(4, 3), "stranger": torch.zeros(9)}, "it")
    with pytest.raises(
        UsageError, match="it is of a model of other sizes: weight is \\[3, 4\\] there and \\[4, 3\\] here"
    ):
        refuse_other_sizes(module, {"weight": torch.zeros(3, 4)}, "it")
    with pytest.raises(UsageError, match="1 missing \\(bias, ...\\), 1 unexpected \\(stranger, ...\\)"):
        refuse_another_model(module, {"weight": torch.zeros(4, 3), "stranger": torch.zeros(9)}, "it")
