from typing import Any

import pytest
import torch
from torch import nn

from hallo3_lightning.animation.residency import Residency
from hallo3_lightning.errors import UsageError


class Traveller(nn.Module):
    """Its norm has a buffer that nobody saves beside those that are, and its layers share a weight."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.last, self.norm = nn.Linear(3, 3), nn.Linear(3, 3, bias=False), nn.BatchNorm1d(3)
        self.last.weight = self.first.weight
        self.register_buffer("passing", torch.ones(2), persistent=False)

    def places(self) -> list[tuple[int, int]]:
        """Which tensors there are, and where their numbers lie."""
        return [(id(tensor), tensor.data_ptr()) for tensor in (*self.parameters(), *self.buffers())]


class AsToGpu(Traveller):
    """Parameters stay the same objects on the way to a GPU, and get other numbers; buffers are others."""

    def to(self, *args: Any, **kwargs: Any) -> "AsToGpu":
        for module in self.modules():
            for parameter in module.parameters(recurse=False):
                parameter.data = parameter.data.clone()
            for name, buffer in module.named_buffers(recurse=False):
                setattr(module, name, buffer.clone())
        return self


@pytest.mark.parametrize("kind", [Traveller, AsToGpu])
def test_a_part_comes_for_its_work_and_what_waited_was_never_gone_even_if_it_fails(kind):
    """From the meta device nothing could be brought back."""
    part = kind()
    home, numbers = part.places(), {name: value.clone() for name, value in part.state_dict().items()}

    def work() -> None:
        with Residency(("video",), "meta").present("video", part):
            assert not {ptr for _, ptr in part.places() if ptr} & {ptr for _, ptr in home}
            raise InterruptedError

    for _ in range(2):
        with pytest.raises(InterruptedError):
            work()
        assert part.places() == home
        assert part.last.weight is part.first.weight
        assert all(torch.equal(value, numbers[name]) for name, value in part.state_dict().items())


def test_other_parts_stay_where_they_are():
    part = Traveller()
    home = part.places()
    with Residency(("video",), "meta").present("text", part):
        assert part.places() == home


def test_an_unknown_part_names_the_nearest():
    with pytest.raises(UsageError, match="no part 'denoser' in offload; did you mean 'denoiser'"):
        Residency(("denoser",))
