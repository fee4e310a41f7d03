"""How something changes over time."""

import torch
from torch import Tensor


def slope(values: Tensor, times: Tensor) -> Tensor:
    """Of the straight lines with the least squared error through values [n, D] at times [n] -> [D], a unit of time."""
    centred = (times - times.double().mean()).double()
    return torch.einsum("n,nd->d", centred, values.double()) / centred.square().sum()
