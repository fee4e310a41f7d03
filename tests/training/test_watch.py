"""What a run says of itself while it trains, and when it stops itself."""

import json
from typing import Any

import pytest
import torch
from lightning import Callback, LightningModule, Trainer

from datamodules.talking_head import TalkingHead
from hallo3_lightning.cli import main
from hallo3_lightning.cost import part_of, work_of
from hallo3_lightning.training.checkpoints import by_step
from hallo3_lightning.training.curves import HEADER, Curves, rows
from hallo3_lightning.training.peaks import peak_of, peak_of_name
from hallo3_lightning.training.writing import Folders
from tests.behaviour.conftest import studio  # noqa: F401  (a fixture)


@pytest.fixture(scope="module")
def watched(studio):  # noqa: F811
    """A run of three steps, each logged and saved."""
    saving = ("--run.checkpoint_every=1", "--run.checkpoints_kept=3", "--trainer.max_steps=3")
    return studio.run("fit", *studio.identity, "--seed_everything=11", *saving)


def curve(run, name: str) -> dict[int, float]:
    return {step: value for step, found, value in rows(run.path / "curves.csv") if found == name}


def test_speeds_belong_together(watched):
    work = work_of(watched.config())
    samples, tokens, tflops = (curve(watched, f"speed/{name}") for name in ("samples_per_s", "tokens_per_s", "tflops"))
    assert samples.keys() == {0, 1, 2}
    for step, rate in samples.items():
        assert rate > 0
        assert tokens[step] == pytest.approx(rate * work.tokens, rel=1e-5)
        assert tflops[step] == pytest.approx(rate * work.operations / 1e12, rel=1e-5)
    assert all(0 < share < 1 for share in curve(watched, "speed/data_wait").values())
    assert all(0.01 < gib < 100 for gib in curve(watched, "memory/peak_gib").values())
    assert curve(watched, "speed/mfu") == {}, "nobody knows the peak of a CPU"


def test_the_norm_of_an_update_is_how_far_its_part_moved(watched):
    states = [Folders().load_checkpoint(path)["state_dict"] for path in reversed(by_step(watched.checkpoints))]
    parts: dict[str, list[str]] = {}
    for name in states[0]:
        if name.startswith("denoiser."):
            parts.setdefault(part_of(name.removeprefix("denoiser.")), []).append(name)
    assert {"backbone", "identity_reference_network"} <= parts.keys()
    for step, (before, after) in enumerate(zip(states, states[1:], strict=False), start=1):
        for part, names in parts.items():
            moved = torch.stack([(after[name].double() - before[name].double()).square().sum() for name in names])
            assert curve(watched, f"norm/update/{part}")[step] == pytest.approx(float(moved.sum().sqrt()), rel=1e-4)
            assert 0 < curve(watched, f"norm/gradient/{part}")[step] < 100


class Poison(Callback):
    """Makes a parameter, or its gradient, no number at a step."""

    def __init__(self, step: int, gradient: bool) -> None:
        self.step, self.gradient = step, gradient

    def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, *_: Any) -> None:
        if trainer.global_step == self.step and not self.gradient:
            _first(pl_module).data.fill_(torch.nan)

    def on_before_optimizer_step(self, trainer: Trainer, pl_module: LightningModule, *_: Any) -> None:
        if trainer.global_step == self.step and self.gradient:
            _first(pl_module).grad.fill_(torch.inf)


def third_batch(run) -> str:
    """The samples of the third batch of the order."""
    data = TalkingHead(**run.config()["data"])
    data.samples_seen = 2 * data.batch_size
    return ", ".join(f"'{key}'" for key in dict.fromkeys(next(iter(data.train_dataloader())).keys))


def _first(module: LightningModule) -> Any:
    return next(parameter for parameter in module.parameters() if parameter.requires_grad)


@pytest.mark.parametrize(("gradient", "what"), [(True, "the gradients are"), (False, "the loss is")])
def test_a_step_that_is_not_finite_stops_the_run_and_is_not_saved(gradient, what, studio, capsys):  # noqa: F811
    arguments = {"step": 2, "gradient": gradient}
    poison = f"--trainer.callbacks={json.dumps({'class_path': f'{__name__}.Poison', 'init_args': arguments})}"
    saving = ("--run.checkpoint_every=2", "--trainer.max_steps=6", f"--seed_everything={20 + gradient}")
    typed = ("fit", *studio.identity, *saving, poison)
    assert main(typed) == 2
    said = capsys.readouterr().err
    run = studio.place(*typed)
    assert f"step 3: {what} not finite, on the samples {third_batch(run)}; " in said
    assert said.count("\n") == 1
    assert [path.name for path in by_step(run.checkpoints)] == ["step=2.ckpt"]
    assert run.status().state == "failed"
    saved = Folders().load_checkpoint(run.checkpoints / "step=2.ckpt")["state_dict"]
    assert all(bool(torch.isfinite(value).all()) for value in saved.values())


def test_a_table_goes_on_where_training_does(tmp_path):
    file = tmp_path / "curves.csv"
    first = Curves(file, from_step=0)
    for step in range(4):
        first.log_metrics({"train/loss": 0.1 * step, "epoch": 0}, step)
    with file.open("a") as torn:
        torn.write("4,train/lo")
    again = Curves(file, from_step=2)
    again.log_metrics({"train/loss": 7.0}, 2)
    assert rows(file) == [(0, "train/loss", 0.0), (1, "train/loss", 0.1), (2, "train/loss", 7.0)]
    Curves(file, from_step=None).log_metrics({"test/psnr": 30.0}, 3)
    assert [step for step, _, _ in rows(file)] == [0, 1, 2, 3]
    assert file.read_text().startswith(HEADER)


@pytest.mark.parametrize(
    ("name", "tflops"),
    [
        ("NVIDIA H100 80GB HBM3", 989.4),
        ("NVIDIA H100 PCIe", 756.5),
        ("NVIDIA H200", 989.4),
        ("NVIDIA A100-SXM4-80GB", 312),
        ("NVIDIA A10G", 70),
        ("NVIDIA L40S", 362),
    ],
)
def test_peaks_are_those_of_data_sheets(name, tflops):
    assert peak_of_name(name) == pytest.approx(tflops * 1e12)
    assert peak_of_name("a chip of tomorrow") is None
    assert peak_of(torch.device("cpu")) is None
