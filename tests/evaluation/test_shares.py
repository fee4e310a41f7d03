"""Work shared by processes that meet at files alone."""

import pytest

from hallo3_lightning.errors import UsageError
from hallo3_lightning.evaluation import shares
from hallo3_lightning.evaluation.shares import Share, local_rank, share_here


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


@pytest.mark.parametrize(
    ("rank", "ranks", "complaint"),
    [
        ("5", "2", "RANK is 5 and WORLD_SIZE 2; ranks count from 0 and end below WORLD_SIZE"),
        ("2", "2", "RANK is 2 and WORLD_SIZE 2"),
        ("0", "0", "RANK is 0 and WORLD_SIZE 0"),
        ("-1", "2", "RANK is '-1' in the environment; expected a whole number from 0 on"),
        ("abc", "2", "RANK is 'abc'"),
        ("0", "", "WORLD_SIZE is ''"),
        ("0", "²", "WORLD_SIZE is '²'"),
        ("0", "1.0", "WORLD_SIZE is '1.0'"),
    ],
)
def test_a_rank_that_is_none_is_refused(rank, ranks, complaint):
    with pytest.raises(UsageError, match=complaint):
        share_here({"RANK": rank, "WORLD_SIZE": ranks})


def test_the_rank_on_this_machine():
    assert local_rank({}) == 0
    assert local_rank({"LOCAL_RANK": "3", "SLURM_LOCALID": "1"}) == 3
    assert local_rank({"SLURM_LOCALID": "1"}) == 1
    with pytest.raises(UsageError, match="LOCAL_RANK is 'x'.*unset it to evaluate in this process alone"):
        local_rank({"LOCAL_RANK": "x"})


@pytest.mark.parametrize("name", ["file", "file/below"])
def test_what_can_be_no_folder_is_refused(name, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(UsageError, match=r"cannot be made a folder to write to \(.+\); give another with --out"):
        Share().place(tmp_path / name)


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
