"""A run that was killed goes on as if it had not been."""

import signal
from pathlib import Path

import torch

from hallo3_lightning.cli import main
from hallo3_lightning.training.curves import rows
from tests.behaviour.ending import ending, killing_when_named, stopping
from tests.behaviour.studio import checkpoint, process, read_json, scalars

SIX = ("--trainer.max_steps=6", "--run.checkpoint_every=2", "--seed_everything=3")


def same(one, other) -> bool:
    """Whether two nests of dictionaries, lists and tensors are equal bit for bit."""
    if isinstance(one, torch.Tensor):
        return torch.equal(one, other)
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(same(one[key], other[key]) for key in one)
    if isinstance(one, list | tuple):
        return len(one) == len(other) and all(same(a, b) for a, b in zip(one, other, strict=True))
    return one == other


def test_a_run_stopped_killed_and_told_to_end_ends_as_the_unbroken_one(studio, tmp_path):
    unbroken = studio.run("fit", *studio.identity, *SIX)
    moved = ("fit", *studio.identity, *SIX, f"--run.root={tmp_path}")
    broken = studio.place(*moved)
    assert broken.path.name == unbroken.path.name

    def checkpoints() -> list[str]:
        assert broken.status().state == "stopped"
        return sorted(path.name for path in broken.checkpoints.glob("*"))

    stopped = process(*moved, ending(1, "SIGINT"))
    assert stopped.returncode == 130, stopped.stderr
    assert stopped.stderr.strip().splitlines()[-1] == "stopped; the same command goes on from here"
    assert checkpoints() == [], "Ctrl-C may come in the middle of a step: what was saved before it counts"

    killed = process(*moved, "--data.num_workers=2", ending(3, "SIGKILL"))
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    assert checkpoints() == ["step=2.ckpt"]

    told = process(*moved, ending(4, "SIGTERM"))
    assert told.returncode == 128 + signal.SIGTERM, told.stderr
    assert checkpoints() == ["step=4.ckpt", "step=5.ckpt"], "SIGTERM lets a step end, and saves"

    assert studio.run(*moved).status().state == "finished"
    one, other = checkpoint(unbroken), checkpoint(broken)
    assert one["global_step"] == other["global_step"] == 6
    for part in ("state_dict", "optimizer_states", "lr_schedulers", "TalkingHead"):
        assert same(one[part], other[part]), part
    assert any(name.startswith("average.") for name in one["state_dict"])
    for tag in ("train/loss", "val/loss"):
        assert scalars(broken, tag) == scalars(unbroken, tag), "no step is missing, doubled or different"
    assert [step for step, _ in scalars(broken, "train/loss")] == [0, 1, 2, 3, 4, 5]
    assert len(read_json(broken.path / "provenance.json")["resumed"]) == 3


def test_a_kill_between_a_checkpoint_and_its_row_leaves_no_gap(studio, tmp_path):
    """Nothing is due but checkpoints: step 3 is saved, and the process is gone before its numbers are logged."""
    typed = (
        "fit",
        *studio.identity,
        "--trainer.max_steps=5",
        "--run.checkpoint_every=3",
        "--trainer.limit_val_batches=0",
    )
    unbroken = studio.run(*typed)
    moved = (*typed, f"--run.root={tmp_path}")
    broken = studio.place(*moved)
    assert process(*moved, killing_when_named(3)).returncode == -signal.SIGKILL
    assert studio.run(*moved).status().state == "finished"
    assert scalars(broken, "train/loss") == scalars(unbroken, "train/loss")
    one, other = (sorted(timeless(run.path / "curves.csv")) for run in (unbroken, broken))
    assert one == other


def test_a_run_is_not_finished_without_its_last_checkpoint(studio, tmp_path, capsys):
    """A file stands where the last checkpoint must be written aside; training goes on past the failure, as asked."""
    typed = ("fit", *studio.identity, "--trainer.max_steps=4", "--run.checkpoint_every=2", f"--run.root={tmp_path}")
    run = studio.place(*typed)
    run.checkpoints.mkdir(parents=True)
    (run.checkpoints / "step=4.ckpt.tmp").write_text("in the way")
    assert main([*typed, "--run.checkpoint_failure=go_on"]) == 2
    said = capsys.readouterr().err.strip().splitlines()[-1]
    assert "has trained 4 steps, but its last checkpoint could not be written" in said
    assert said.endswith("it goes on from step=2.ckpt")
    assert run.status().state != "finished"
    (run.checkpoints / "step=4.ckpt.tmp").unlink()
    assert studio.run(*typed).status().state == "finished"
    assert (run.checkpoints / "step=4.ckpt").is_dir()


def timeless(file: Path) -> list[tuple[int, str, float]]:
    """Rows of a table of curves, apart from those that a clock makes."""
    return [row for row in rows(file) if not row[1].startswith(("speed/", "memory/", "time/"))]


def test_a_checkpoint_goes_on_with_other_batches_of_the_same_step(studio):
    unbroken = studio.run("fit", *studio.identity, *SIX, "--data.batch_size=4")
    begun = studio.run("fit", *studio.identity, *SIX, "--data.batch_size=4", "--run.name=begun", stopping(3))
    halved = ("--data.batch_size=2", "--trainer.accumulate_grad_batches=2", f"--ckpt_path={begun.path}")
    resumed = studio.run("fit", *studio.identity, *SIX, *halved)
    one, other = checkpoint(unbroken), checkpoint(resumed)
    assert one["TalkingHead"] == other["TalkingHead"]
    assert one["TalkingHead"]["samples_seen"] == 24
    for name, weight in one["state_dict"].items():
        torch.testing.assert_close(other["state_dict"][name], weight, rtol=0, atol=1e-5)
