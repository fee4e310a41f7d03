"""The moving average of the parameters that train."""

import pytest
import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from hallo3_lightning.training.average import Average


def network() -> nn.Module:
    torch.manual_seed(0)
    module = nn.Sequential(nn.Linear(3, 4), nn.Linear(4, 2))
    module[0].requires_grad_(False)
    return module


def test_it_follows_by_the_warmed_up_rule():
    """Decay min(d, (1 + n) / (10 + n)) at the n-th update; a constant weight is followed without error."""
    module = network()
    average = Average(module, decay=0.3)
    expected = module[1].weight.detach().clone()
    for n in (1, 2, 3, 4):
        with torch.no_grad():
            module[1].weight += n
        decay = min(0.3, (1 + n) / (10 + n))
        expected = decay * expected + (1 - decay) * module[1].weight.detach()
        average.update(module)
    with average.applied(module):
        torch.testing.assert_close(module[1].weight.detach(), expected)


def test_applied_gives_the_own_weights_back_also_after_an_error():
    module = network()
    average = Average(module, decay=0.9)
    with torch.no_grad():
        module[1].weight += 1
    own = module[1].weight.detach().clone()

    def fails() -> None:
        with average.applied(module):
            assert not torch.equal(module[1].weight, own)
            raise ValueError("in the middle")

    with pytest.raises(ValueError, match="in the middle"):
        fails()
    assert torch.equal(module[1].weight, own)


def test_only_what_trains_is_copied_and_the_state_goes_around():
    module = network()
    average = Average(module, decay=0.9)
    assert average.names == ["1.weight", "1.bias"]
    with torch.no_grad():
        module[1].bias += 1
    average.update(module)
    other = Average(network(), decay=0.9)
    other.load_state_dict(average.state_dict())
    assert all(torch.equal(a, b) for a, b in zip(other.buffers(), average.buffers(), strict=True))
    assert int(other.updates) == 1


def loaded(average: Average, state: dict[str, Tensor]) -> None:
    average.load_state_dict(state)


def loaded_within_a_model(average: Average, state: dict[str, Tensor]) -> None:
    nn.ModuleDict({"average": average}).load_state_dict({f"average.{name}": value for name, value in state.items()})


def given_other_tensors(average: Average, state: dict[str, Tensor]) -> None:
    average.load_state_dict({name: value.clone() for name, value in state.items()}, assign=True)


def read_in_place(average: Average, state: dict[str, Tensor]) -> None:
    """As a checkpoint is, into a module that is sharded."""
    for name, buffer in average.state_dict().items():
        buffer.copy_(state[name])


@pytest.mark.parametrize("updates", [0, 1, 5])
@pytest.mark.parametrize("load", [loaded, loaded_within_a_model, given_other_tensors, read_in_place])
def test_it_goes_on_from_the_updates_of_what_it_was_loaded_from(load, updates):
    """The decay is of the fourth update, however many this one has made."""
    module, other = network(), network()
    before, after = Average(module, decay=0.9), Average(other, decay=0.9)
    for _ in range(3):
        before.update(module)
    for _ in range(updates):
        after.update(other)
    load(after, before.state_dict())
    with torch.no_grad():
        module[1].bias += 1
        other[1].bias += 1
    before.update(module)
    after.update(other)
    assert all(torch.equal(a, b) for a, b in zip(after.buffers(), before.buffers(), strict=True))
    assert int(after.updates) == 4


class Asked(TorchDispatchMode):
    """Counts the numbers that are read out of tensors, for which a GPU has to be waited for."""

    def __init__(self) -> None:
        super().__init__()
        self.numbers = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        self.numbers += func is torch.ops.aten._local_scalar_dense.default
        return func(*args, **(kwargs or {}))


def test_it_asks_how_many_updates_there_were_once_and_not_in_every_step():
    module = network()
    average = Average(module, decay=0.9)
    with Asked() as asked:
        for _ in range(4):
            average.update(module)
    assert asked.numbers == 1
    assert int(average.updates) == 4
