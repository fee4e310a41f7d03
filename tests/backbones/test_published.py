"""Networks with weights from a folder, and with invented ones."""

from dataclasses import replace

import pytest
import torch
from torch import nn

from hallo3_lightning.backbones import published
from hallo3_lightning.backbones.published import NETWORKS, Published, invent, invented, loaded
from hallo3_lightning.backbones.weight_files import REGISTRY, SYNCNET, sha256_of
from hallo3_lightning.errors import UsageError


def build() -> nn.Module:
    return nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4))


@pytest.fixture
def tiny(monkeypatch) -> Published:
    """A network of a few numbers, under a name of its own, whose file is whatever the test writes."""
    file = replace(SYNCNET, name="tiny.pth", num_bytes=None, sha256=None)
    tiny = Published(file, build, part="net", only=("0.", "1."), factors={"0.bias": 0.5})
    monkeypatch.setattr(published, "NETWORKS", {"tiny": tiny})
    return tiny


def test_weights_of_a_folder(tmp_path, tiny):
    trained = build()
    torch.save({"net": {**trained.state_dict(), "text.weight": torch.zeros(2)}}, tmp_path / "tiny.pth")
    found = loaded("tiny", tmp_path, "a test")
    assert found.file == tmp_path / "tiny.pth"
    assert found.sha256 == sha256_of(found.file)
    assert not found.network.training
    assert not any(value.requires_grad for value in found.network.parameters())
    for name, value in found.network.state_dict().items():
        assert torch.equal(value, trained.state_dict()[name])
    with pytest.raises(UsageError, match="a test needs tiny.pth"):
        loaded("tiny", None, "a test")


def test_invented_weights_depend_on_seed_and_name_alone(tiny):
    first, again, other = invented("tiny", 3), invented("tiny", 3), invented("tiny", 4)
    assert first.file is None
    assert first.sha256 == again.sha256 != other.sha256
    for name, value in first.network.state_dict().items():
        assert torch.equal(value, again.network.state_dict()[name])
    alike = nn.Sequential(nn.Linear(3, 3), nn.Linear(3, 3))
    invent(alike, 3)
    assert not torch.equal(alike.get_parameter("0.weight"), alike.get_parameter("1.weight"))
    within = nn.ModuleDict({"0": nn.Linear(3, 4)})
    invent(within, 3)
    assert torch.equal(within["0"].weight, first.network.get_parameter("0.weight"))
    assert torch.equal(within["0"].bias, 2 * first.network.get_parameter("0.bias"))


@pytest.mark.parametrize("name", ["deep3d", "syncnet", "raft"])
def test_every_file_is_registered_and_every_network_built(name):
    assert all(entry.file in REGISTRY.values() for entry in NETWORKS.values())
    found = invented(name, 0)
    assert all(value.isfinite().all() for value in found.network.state_dict().values())


@torch.no_grad()
def test_values_do_not_grow_under_invented_weights():
    numbers = invented("deep3d", 0).network.numbers(torch.rand(2, 3, 96, 64))
    assert 1e-3 < numbers.std() < 100


def test_an_unknown_network_is_named():
    with pytest.raises(UsageError, match="did you mean 'inception'"):
        invented("incepton", 0)
