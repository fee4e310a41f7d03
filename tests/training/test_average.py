"""The moving average of the parameters that train."""

import pytest
import torch
from torch import nn

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
