"""R-Net's groups of numbers, where the last layers say what they are."""

import torch
from torch import nn

from hallo3_lightning.backbones.deep3d import GROUPS, RNet


@torch.no_grad()
def test_groups_are_in_the_order_of_the_file():
    network = RNet().eval()
    for i, layer in enumerate(network.final_layers):
        nn.init.zeros_(layer.weight)
        nn.init.constant_(layer.bias, i)
    found = network(torch.rand(2, 3, 64, 32))
    for i, (name, width) in enumerate(
        zip(("identity", "expression", "texture", "angle", "light"), GROUPS, strict=False)
    ):
        group = getattr(found, name)
        assert group.shape == (2, width)
        assert group.unique().tolist() == [i]
    assert found.shift.tolist() == [[5, 5, 6]] * 2
