"""Work shared by processes that meet at files alone."""

import pytest

from hallo3_lightning.errors import UsageError
from hallo3_lightning.evaluation import shares
from hallo3_lightning.evaluation.shares import Share, share_here


@pytest.mark.parametrize("ranks", [1, 2, 3, 7])
def test_each_item_is_of_one_process(ranks):
    items = list(range(5))
    parts = [Share(rank, ranks).of(items) for rank in range(ranks)]
    assert sorted(item for part in parts for item in part) == items


def test_torchrun_and_srun_say_which_it_is():
    assert share_here({"RANK": "2", "WORLD_SIZE": "5"}) == Share(2, 5)
    assert share_here({"SLURM_PROCID": "1", "SLURM_STEP_NUM_TASKS": "4"}) == Share(1, 4)
    assert share_here({}) == Share(0, 1)
    # within sbatch, but not started by srun: this process is the only one
    assert share_here({"SLURM_PROCID": "0", "SLURM_NTASKS": "8"}) == Share(0, 1)


def test_only_the_first_speaks_and_the_others_have_places_of_their_own(tmp_path):
    assert [Share(rank, 2).is_first for rank in range(2)] == [True, False]
    assert Share(0, 2).place(tmp_path) == tmp_path
    assert Share(1, 2).place(tmp_path) == tmp_path / "ranks/1"


def test_it_waits_until_nothing_is_left(monkeypatch):
    monkeypatch.setattr(shares, "POLL_S", 0.001)
    left = iter([3, 3, 1, 0])
    Share(0, 2).wait(lambda: next(left), "clips")
    assert next(left, None) is None


def test_it_does_not_wait_for_what_is_gone(monkeypatch):
    monkeypatch.setattr(shares, "POLL_S", 0.001)
    monkeypatch.setattr(shares, "STALLED_S", 0.0)
    with pytest.raises(UsageError, match="2 clips of other processes have not come.*give the same command again"):
        Share(0, 2).wait(lambda: 2, "clips")
