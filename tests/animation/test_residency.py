from typing import Any

import pytest
from torch import nn

from hallo3_lightning.animation.residency import Residency
from hallo3_lightning.errors import UsageError


class Traveller(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.ways: list[str] = []

    def to(self, *args: Any, **kwargs: Any) -> "Traveller":
        self.ways.append(str(args[0]))
        return super().to(*args, **kwargs)


def test_a_part_comes_for_its_work_and_leaves_even_if_it_fails():
    part = Traveller()

    def work() -> None:
        with Residency(("video",), "meta").present("video", part):
            assert part.ways == ["meta"]
            raise InterruptedError

    with pytest.raises(InterruptedError):
        work()
    assert part.ways == ["meta", "cpu"]


def test_other_parts_stay_where_they_are():
    part = Traveller()
    with Residency(("video",), "meta").present("text", part):
        pass
    assert part.ways == []


def test_an_unknown_part_names_the_nearest():
    with pytest.raises(UsageError, match="no part 'denoser' in offload; did you mean 'denoiser'"):
        Residency(("denoser",))
