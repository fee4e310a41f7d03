"""Two ranks end together, between two steps, whoever was told to.

Traps of Lightning 2.6 that these would fail on, each seen to fail with its cure taken out:
- a signal to one rank alone is not seen, or aborts it (`Ear.listen` when training starts);
- both are told at different moments of a step, and a collective within the handler hangs (the same);
- each step broadcasts a flag through the device and waits for it (`without_lightnings_broadcast`);
- a validation that was cut short is not run again (`Guard.on_save_checkpoint`).
"""

import json
import os
import signal
import socket
import subprocess
import sys

import pytest
from lightning import Callback

from hallo3_lightning.cli import main
from hallo3_lightning.training.curves import rows
from hallo3_lightning.training.signals import LISTENED
from tests.behaviour.conftest import studio  # noqa: F401  (a fixture)
from tests.behaviour.studio import ROOT, checkpoint, scalars
from tests.behaviour.test_resume import same
from tests.training.told import SENT, typed


@pytest.fixture(scope="module")
def played(studio, tmp_path_factory):  # noqa: F811
    """What two ranks did in every case, what they said, and where."""
    out = tmp_path_factory.mktemp("told")
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        port = str(found.getsockname()[1])
    places = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port, "WORLD_SIZE": "2", "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-W", "ignore", "-m", "tests.training.told", str(studio.folder), str(out)]
    ranks = [
        subprocess.Popen(
            command, cwd=ROOT, env={**os.environ, **places, "LOCAL_RANK": str(rank)}, stderr=subprocess.PIPE, text=True
        )
        for rank in range(2)
    ]
    try:
        said = ranks[0].communicate(timeout=250)[1]
    finally:
        for rank in ranks:
            rank.kill()
    assert (out / "played.json").is_file(), said
    return out, json.loads((out / "played.json").read_text()), said


@pytest.mark.parametrize(
    ("case", "number", "step"),
    [("one", signal.SIGUSR1, 3), ("both", signal.SIGTERM, 3), ("validating", signal.SIGUSR2, 2)],
)
def test_all_ranks_save_a_step_and_end_and_go_on(case, number, step, played, studio):  # noqa: F811
    out, found, _ = played
    assert found[case] == {
        "status": 128 + number,
        "state": "stopped",
        "step": step,
        "checkpoints": [f"step={step}.ckpt"],
        "resumed": 0,
    }
    unbroken, run = (studio.place(*typed(studio, out, name)) for name in ("unbroken", case))
    one, other = checkpoint(unbroken), checkpoint(run)
    assert same(one["state_dict"], other["state_dict"])
    assert same(one["optimizer_states"], other["optimizer_states"])
    for tag in ("train/loss", "val/loss"):
        assert scalars(run, tag) == scalars(unbroken, tag), "no step is missing, doubled or different"


def test_norms_of_sharded_parts_are_those_of_whole_ones(played, studio):  # noqa: F811
    """Here, for the ranks are here: of training/watch.py."""
    out, found, _ = played
    assert found["whole on each"] == 0
    sharded, whole = (
        {(step, name): value for step, name, value in rows(studio.place(*typed(studio, out, case)).path / "curves.csv")}
        for case in ("unbroken", "whole on each")
    )
    norms = {key for key in whole if key[1].startswith("norm/")}
    assert {name for _, name in norms} >= {"norm/gradient/backbone", "norm/update/identity_reference_network"}
    assert {step for step, _ in norms} == {0, 1, 2, 3}
    for key in norms:
        assert sharded[key] == pytest.approx(whole[key], rel=1e-3, abs=1e-6), key


def test_every_case_is_looked_at():
    assert SENT.keys() == {"one", "both", "validating"}


def test_a_step_broadcasts_no_flag(played):
    assert played[1]["unbroken"] == 0
    assert played[1]["broadcasts"] == 0


def test_a_rank_that_hangs_is_noticed_and_the_setting_is_named(played):
    _, found, said = played
    assert found["hung"] == 2
    assert "error: another rank did not answer" in said
    assert "parallel.timeout_s (3 s)" in said


class TellWhileBuilding(Callback):
    """Sends this process a signal when it is built, long before anything is loaded or trained."""

    def __init__(self, by: str) -> None:
        os.kill(os.getpid(), signal.Signals[by])


@pytest.mark.parametrize("by", ["SIGTERM", "SIGUSR1"])
def test_a_run_told_to_stop_before_its_first_step_has_nothing_to_save(by, studio, tmp_path):  # noqa: F811
    told = {"class_path": f"{__name__}.TellWhileBuilding", "init_args": {"by": by}}
    command = ("fit", *studio.identity, f"--run.root={tmp_path}")
    handlers = [signal.getsignal(number) for number in LISTENED]
    with pytest.raises(SystemExit) as ended:
        main([*command, f"--trainer.callbacks={json.dumps(told)}"])
    assert ended.value.code == 128 + signal.Signals[by]
    run = studio.place(*command)
    assert run.status().state == "stopped"
    assert not list(run.checkpoints.glob("*"))
    assert [signal.getsignal(number) for number in LISTENED] == handlers, "whoever listened before does again"
