"""How something changes over time."""

import torch
from torch import Tensor


def slope(values: Tensor, times: Tensor) -> Tensor:
    """Of the straight lines with the least squared error through values [n, D] at times [n] -> [D], a unit of time."""
    values, times = values.double(), times.double()
    centred = times - times.mean()
    return torch.einsum("n,nd->d", centred, values - values.mean(dim=0)) / centred.square().sum()
