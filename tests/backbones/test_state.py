"""Tensors of files in the forms that other people keep them in."""

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from hallo3_lightning.backbones.state import load_state
from hallo3_lightning.errors import UsageError


@pytest.fixture
def trained() -> nn.Linear:
    layer = nn.Linear(2, 3)
    nn.init.constant_(layer.weight, 7)
    return layer


def test_a_part_of_a_file(tmp_path, trained):
    torch.save({"net": trained.state_dict(), "step": 5}, tmp_path / "f.pth")
    fresh = nn.Linear(2, 3)
    load_state(fresh, tmp_path / "f.pth", part="net")
    assert torch.equal(fresh.weight, trained.weight)
    for part in ("other", None, "step"):
        with pytest.raises(UsageError, match="holds something else than named tensors"):
            load_state(fresh, tmp_path / "f.pth", part=part)


def test_a_file_of_a_wrapped_network(tmp_path, trained):
    torch.save({f"module.{name}": value for name, value in trained.state_dict().items()}, tmp_path / "f.pth")
    fresh = nn.Linear(2, 3)
    load_state(fresh, tmp_path / "f.pth")
    assert torch.equal(fresh.weight, trained.weight)


@pytest.mark.parametrize(
    ("names", "complaint"),
    [
        ({"weight": (3, 2)}, r"than Linear: of 2 tensors it lacks 1 \(bias\); `hallo3 doctor`"),
        ({"weight": (3, 3), "bias": (3,)}, r"than Linear: in another size it has 1 \(weight\);"),
        ({"a": (1,), "b": (1,)}, r"of 2 tensors it lacks 2 \(bias, ...\), beside those it has 2 \(a, ...\);"),
    ],
)
def test_another_network_is_named(names, complaint, tmp_path):
    torch.save({name: torch.zeros(shape) for name, shape in names.items()}, tmp_path / "f.pth")
    with pytest.raises(UsageError, match=complaint):
        load_state(nn.Linear(2, 3), tmp_path / "f.pth")


def test_some_of_the_tensors_of_a_file(tmp_path, trained):
    """And what no network here reads is no difference."""
    state = {f"picture.{name}": value for name, value in trained.state_dict().items()}
    save_file(
        {**state, "text.weight": torch.zeros(2), "picture.position_ids": torch.arange(3)}, tmp_path / "f.safetensors"
    )
    fresh = nn.ModuleDict({"picture": nn.Linear(2, 3)})
    load_state(fresh, tmp_path / "f.safetensors", only=("picture.",))
    assert torch.equal(fresh["picture"].weight, trained.weight)
    with pytest.raises(UsageError, match=r"beside those it has 1 \(text.weight\)"):
        load_state(fresh, tmp_path / "f.safetensors")
    (tmp_path / "f.safetensors").write_bytes(b"none")
    with pytest.raises(UsageError, match="is damaged"):
        load_state(fresh, tmp_path / "f.safetensors")


def test_a_program_is_not_run(tmp_path, trained):
    """The published forms of I3D and CLIP that hold one look like files of weights."""
    torch.jit.save(torch.jit.trace(trained, torch.zeros(1, 2)), tmp_path / "f.pt")
    with pytest.raises(UsageError, match="holds something else than named tensors"):
        load_state(nn.Linear(2, 3), tmp_path / "f.pt")
