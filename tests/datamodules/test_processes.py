import os

import pytest

from datamodules.processes import alone, cores, spread
from hallo3_lightning.errors import UsageError


def squared(number: int) -> int:
    return number**2


def dies(number: int) -> int:
    os._exit(3)


def fails(number: int) -> int:
    raise UsageError(f"{number} is wrong")


@pytest.mark.parametrize("workers", [1, 2])
def test_every_item_is_worked_on_once(workers):
    assert sorted(spread(squared, range(5), workers)) == [0, 1, 4, 9, 16]


def test_a_worker_that_dies_is_one_sentence():
    with pytest.raises(UsageError, match="a worker process died, .* --workers 1"):
        list(spread(dies, range(3), 2))


def test_what_a_worker_raises_arrives():
    with pytest.raises(UsageError, match="is wrong"):
        list(spread(fails, range(3), 2))


def test_a_folder_is_for_one_at_a_time_and_free_again_afterwards(tmp_path):
    with (
        alone(tmp_path, "reading"),
        pytest.raises(UsageError, match="another process is filling"),
        alone(tmp_path, "filling"),
    ):
        pass
    with alone(tmp_path, "filling"):
        pass


def test_there_is_a_core():
    assert cores() >= 1
