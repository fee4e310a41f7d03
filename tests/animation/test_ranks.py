"""Which processes make one film, and on which device each."""

import pytest

from hallo3_lightning.animation.ranks import TOLD, is_one_of_several, own_device
from hallo3_lightning.errors import UsageError

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
