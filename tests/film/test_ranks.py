"""Which processes make one film, on which device each, and how they meet."""

import socket
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

import pytest
import torch.distributed as dist
from torch.distributed import TCPStore

from hallo3_lightning.errors import UsageError
from hallo3_lightning.film.ranks import TOLD, is_one_of_several, over_ranks, own_device

TORCHRUN = dict.fromkeys(TOLD, "0") | {"WORLD_SIZE": "2"}


def test_one_of_several_is_what_torchrun_started_with_others():
    assert is_one_of_several(TORCHRUN)
    assert not is_one_of_several(TORCHRUN | {"WORLD_SIZE": "1"})
    assert not is_one_of_several({"WORLD_SIZE": "2", "MASTER_ADDR": "left by another program"})
    assert not is_one_of_several({})


def test_processes_share_a_cpu_and_a_device_that_is_not_there_is_named():
    assert own_device("cpu", TORCHRUN) == "cpu"
    with pytest.raises(UsageError, match="--device is mps"):
        own_device("mps", TORCHRUN)


def met(ranks: int, came: list[int], waiting: timedelta = timedelta(seconds=0.4)) -> list[str]:
    """What those that came say who waited for others in vain."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        place = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(free.getsockname()[1]), "WORLD_SIZE": str(ranks)}

    def one(rank: int) -> str:
        with pytest.raises(UsageError) as told, over_ranks("cpu", {**place, "RANK": str(rank)}, waiting):
            raise AssertionError("met")
        return str(told.value).replace(place["MASTER_PORT"], "PORT")

    with ThreadPoolExecutor(ranks) as threads:
        return list(threads.map(one, came))


@pytest.mark.parametrize("came", [[0], [0, 2]])
def test_those_that_came_say_who_did_not(came):
    said = met(3, came)[0]
    missing = ", ".join(f"rank {rank}" for rank in range(3) if rank not in came)
    assert said.startswith(f"{len(came)} of 3 processes (not {missing}) came to 127.0.0.1:PORT within 0:00:00.4")
    assert "start all of them with one torchrun" in said


def test_without_the_first_the_others_say_where_they_waited():
    (said,) = met(2, [1])
    assert said.startswith("nobody answered at 127.0.0.1:PORT within 0:00:00.4")
    assert "the first of 2 processes" in said


def test_a_place_that_is_taken_is_one_sentence():
    with socket.create_server(("", 0)) as taken:
        place = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(taken.getsockname()[1]), "WORLD_SIZE": "2", "RANK": "0"}
        with pytest.raises(UsageError, match="is taken by another program"), over_ranks("cpu", place):
            raise AssertionError("met")


def test_one_that_ends_right_after_it_came_keeps_nobody_longer():
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    first = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "WORLD_SIZE": "2", "RANK": "0"}

    def come() -> None:
        TCPStore("127.0.0.1", port, is_master=False).set("rank 1", "came")

    with ThreadPoolExecutor(1) as threads:
        threads.submit(come)
        with pytest.raises(UsageError, match="ended while they met"), over_ranks("cpu", first, timedelta(seconds=3)):
            raise AssertionError("met")
    assert not dist.is_initialized()
