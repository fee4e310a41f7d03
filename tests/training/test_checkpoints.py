"""Folders that are complete or not there, which one is the newest, and what any number of ranks reads of them."""

import json
import pickle
from pathlib import Path

import pytest
import torch
from torch import nn
from torch.distributed.checkpoint import HuggingFaceStorageReader

from hallo3_lightning.errors import UsageError
from hallo3_lightning.training.checkpoints import (
    COMPLETE,
    MODEL,
    located,
    newest,
    outlines,
    refuse_another_model,
    refuse_other_sizes,
    step_of,
    tensors_of,
    torn,
    torn_after,
    weights,
)
from hallo3_lightning.training.saving import EveryFewSteps, refuse_other_choices
from hallo3_lightning.training.writing import Folders, SaveFailed

TENSORS = {
    "whole": torch.arange(35.0).reshape(5, 7),
    "half": torch.randn(3).bfloat16(),
    "count": torch.tensor(4),
    "flag": torch.tensor([True, False]),
    "nothing": torch.zeros(0, 3),
}


def saved(folder: Path, step: int, tensors: dict | None = None, asynchronous: bool = False) -> Path:
    path, plugin = folder / f"step={step}.ckpt", Folders(asynchronous)
    plugin.save_checkpoint({"state_dict": tensors or TENSORS, "global_step": step}, path)
    plugin.teardown()
    return path


def test_the_newest_is_the_complete_one_of_the_highest_step(tmp_path):
    assert newest(tmp_path) is None
    for name in ("step=200.ckpt.tmp", "notes.ckpt", "step=300.ckpt"):
        (tmp_path / name).mkdir()
    (tmp_path / "step=400.ckpt").touch()
    saved(tmp_path, 9)
    ten = saved(tmp_path, 10)
    assert newest(tmp_path) == ten
    assert step_of(ten) == 10
    assert step_of(tmp_path / "notes.ckpt") == 0
    assert list(torn_after(tmp_path, ten)) == [tmp_path / "step=300.ckpt"]


@pytest.mark.parametrize("asynchronous", [False, True])
def test_what_is_read_is_what_was_saved(tmp_path, asynchronous):
    path = saved(tmp_path, 3, asynchronous=asynchronous)
    read = weights(path)
    assert read.keys() == TENSORS.keys()
    assert all(torch.equal(read[name], TENSORS[name]) and read[name].dtype == TENSORS[name].dtype for name in read)
    assert {name.removeprefix(MODEL): value.shape for name, value in outlines(path).items()} == {
        name: value.shape for name, value in TENSORS.items()
    }
    assert list(tmp_path.iterdir()) == [path]


def test_an_optimizer_goes_by_names_and_comes_back_by_numbers(tmp_path):
    module = nn.Sequential(nn.Linear(3, 4), nn.Linear(4, 2))
    groups = [{"params": [n for n in module.named_parameters() if n[1].ndim == axes]} for axes in (2, 1)]
    optimizer = torch.optim.AdamW(groups, lr=0.1, betas=(0.5, 0.75))
    module(torch.randn(5, 3)).sum().backward()
    optimizer.step()
    plugin = Folders()
    plugin.save_checkpoint({"state_dict": {}, "optimizer_states": [optimizer.state_dict()]}, tmp_path / "step=1.ckpt")
    assert "optimizer.0.0.weight.exp_avg" in tensors_of(tmp_path / "step=1.ckpt")
    state = plugin.load_checkpoint(tmp_path / "step=1.ckpt")["optimizer_states"][0]
    assert state["param_groups"] == optimizer.state_dict()["param_groups"]
    for number, slots in optimizer.state_dict()["state"].items():
        assert all(torch.equal(state["state"][number][slot], value) for slot, value in slots.items())


def test_training_may_change_what_is_being_saved(tmp_path):
    """In the background a copy is written."""
    tensor, plugin = torch.ones(300, 500), Folders(asynchronous=True)
    plugin.save_checkpoint({"state_dict": {"a": tensor}}, tmp_path / "step=1.ckpt")
    tensor.zero_()
    plugin.save_checkpoint({"state_dict": {"a": tensor}}, tmp_path / "step=2.ckpt")
    assert weights(tmp_path / "step=1.ckpt")["a"].all()
    plugin.teardown()
    assert newest(tmp_path) == tmp_path / "step=2.ckpt"


def cut(path: Path) -> None:
    shard = next(path.glob("*.safetensors"))
    shard.write_bytes(shard.read_bytes()[:-1])


TEARS = {
    "a file is shorter": (cut, "bytes"),
    "a file is gone": (lambda path: next(path.glob("*.safetensors")).unlink(), "FileNotFoundError"),
    "the mark is gone": (lambda path: (path / COMPLETE).unlink(), "FileNotFoundError"),
    "the mark is garbled": (lambda path: (path / COMPLETE).write_text("{"), "JSONDecodeError"),
    "the mark names nothing": (lambda path: (path / COMPLETE).write_text("{}"), "names no tensors"),
    "the mark is something else": (lambda path: (path / COMPLETE).write_text("[1]"), "names no tensors"),
}


@pytest.mark.parametrize("tear", TEARS)
def test_a_torn_checkpoint_is_passed_over_and_said(tmp_path, tear):
    change, told = TEARS[tear]
    folder = tmp_path / "checkpoints"
    before, path = saved(folder, 1), saved(folder, 2)
    change(path)
    assert newest(folder) == before == located(tmp_path)
    assert told in torn_after(folder, before)[path]
    assert torn(before) is None
    with pytest.raises(UsageError, match=r"step=2\.ckpt' is torn: "):
        weights(path)


@pytest.mark.parametrize("tear", TEARS)
def test_where_all_checkpoints_are_torn_each_is_named(tmp_path, tear):
    change, told = TEARS[tear]
    for step in (1, 2):
        change(saved(tmp_path / "checkpoints", step))
    with pytest.raises(UsageError, match=rf"no checkpoint at .* that is whole.*{told}") as refused:
        located(tmp_path)
    assert all(f"step={step}.ckpt' is torn (" in str(refused.value) for step in (1, 2))


def test_a_damaged_file_of_the_right_size_is_one_sentence(tmp_path):
    path = saved(tmp_path, 1)
    shard = next(path.glob("*.safetensors"))
    shard.write_bytes(b"\xff" * shard.stat().st_size)
    with pytest.raises(UsageError, match="is not a checkpoint of ours, or is damaged"):
        weights(path)


@pytest.mark.parametrize("signal", [KeyboardInterrupt, SystemExit])
def test_a_signal_while_it_is_read_is_not_blamed_on_the_checkpoint(tmp_path, monkeypatch, signal):
    path = saved(tmp_path, 3)

    def interrupted(*_: object) -> None:
        raise signal

    monkeypatch.setattr(HuggingFaceStorageReader, "read_data", interrupted)
    with pytest.raises(signal):
        tensors_of(path)


def test_a_save_that_fails_leaves_the_one_before_and_nothing_else(tmp_path):
    path = saved(tmp_path, 1)
    (tmp_path / "step=2.ckpt.tmp").write_text("in the way: a file where a folder must be made")
    with pytest.raises(SaveFailed, match=r"step=2\.ckpt' could not be written .*the ones before it are untouched"):
        saved(tmp_path, 2)
    assert torn(path) is None
    assert newest(tmp_path) == path


def test_a_torn_one_is_replaced_by_the_same_step_trained_again(tmp_path):
    path = saved(tmp_path, 2, {"a": torch.zeros(3)})
    cut(path)
    assert saved(tmp_path, 2, {"a": torch.ones(3)}) == path
    assert weights(path)["a"].all()
    assert list(tmp_path.iterdir()) == [path]


def test_in_the_background_a_failure_costs_one_checkpoint(tmp_path):
    first, plugin = tmp_path / "step=3.ckpt", Folders(asynchronous=True)
    (tmp_path / "step=3.ckpt.tmp").write_text("in the way")
    with pytest.raises(SaveFailed):
        plugin.save_checkpoint({"state_dict": {"a": torch.zeros(3)}}, first)
    plugin.save_checkpoint({"state_dict": {"a": torch.zeros(3)}}, tmp_path / "step=4.ckpt")
    plugin.teardown()
    assert newest(tmp_path) == tmp_path / "step=4.ckpt"


def choose(rank: int, meeting: Path, chosen: tuple[str | None, ...]) -> None:
    torch.distributed.init_process_group("gloo", init_method=f"file://{meeting}", rank=rank, world_size=len(chosen))
    try:
        refuse_other_choices(chosen[rank])
    except UsageError as error:
        meeting.with_name(f"rank{rank}").write_text(str(error))
    torch.distributed.barrier()


@pytest.mark.parametrize(
    "chosen", [("a/step=3.ckpt", "a/step=6.ckpt"), (None, "a/step=3.ckpt"), ("a/step=3.ckpt",) * 2]
)
def test_ranks_that_found_different_checkpoints_all_say_so(tmp_path, chosen):
    torch.multiprocessing.spawn(choose, (tmp_path / "meeting", chosen), nprocs=2)
    said = [path.read_text() for path in tmp_path.glob("rank*")]
    assert len(said) == (0 if chosen[0] == chosen[1] else 2)
    assert all("rank 1: step=" in sentence for sentence in said)


@pytest.mark.parametrize("wrong", [{"every": 0}, {"every": 3, "keep": 0}])
def test_no_checkpoint_at_all_is_not_offered(tmp_path, wrong):
    with pytest.raises(UsageError, match="is 0; expected 1 or more"):
        EveryFewSteps(tmp_path, **wrong)


def test_what_json_cannot_hold_is_refused_before_anything_is_written(tmp_path):
    with pytest.raises(TypeError, match="not made of numbers, words and lists"):
        Folders().save_checkpoint({"state_dict": {}, "callbacks": {"mine": object()}}, tmp_path / "step=1.ckpt")
    assert list(tmp_path.iterdir()) == []


def test_a_run_gives_its_newest_weights(tmp_path):
    for step in (1, 2):
        saved(tmp_path / "checkpoints", step, {"a": torch.tensor(step)})
    assert int(weights(tmp_path)["a"]) == 2
    with pytest.raises(UsageError, match="no checkpoint at"):
        weights(tmp_path / "checkpoints")


def test_nothing_in_it_is_pickled(tmp_path):
    path = saved(tmp_path, 1)
    assert {file.suffix for file in path.iterdir()} == {".safetensors", ".json"}
    for file in path.glob("*.json"):
        json.loads(file.read_text())


def test_no_pickled_object_is_run(tmp_path):
    class Evil:
        def __reduce__(self):
            return (exec, ("raise SystemExit('ran')",))

    path = saved(tmp_path, 1)
    for name in (".metadata", "meta.pt"):
        (path / name).write_bytes(pickle.dumps(Evil()))
    assert weights(path)["count"] == 4


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
