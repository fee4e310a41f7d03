"""Which devices there are."""

import pytest
import torch

from hallo3_lightning.errors import UsageError
from hallo3_lightning.film.placement import device_of


@pytest.mark.parametrize(
    "told", ["", "cpu:", "cpu:0", "cpu:3", "cpu:x", "CPU", "cuda:", "cuda:x", "cuda:-1", "cuda:00", "tpu"]
)
def test_what_is_no_device_of_this_machine_is_said(told):
    with pytest.raises(UsageError, match=f"^--device is {told}, which this machine does not have; expected cpu"):
        device_of(told)


def test_gpus_go_by_their_numbers_and_the_first_needs_none(monkeypatch):
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    assert [device_of(told) for told in ("cpu", "cuda", "cuda:0", "cuda:1")] == ["cpu", "cuda", "cuda:0", "cuda:1"]
    with pytest.raises(UsageError, match="expected cpu or cuda or cuda:0 or cuda:1$"):
        device_of("cuda:2")
