"""Exponential moving average of the parameters that train."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn
from torch.distributed.tensor import DTensor, distribute_tensor


class Average(nn.Module):
    """A copy of every trainable parameter of a module, following it at a rate that starts fast.

    Source: the warm-up (1 + n) / (10 + n) of the decay is TensorFlow's `ExponentialMovingAverage`.
    """

    updates: Tensor

    def __init__(self, module: nn.Module, decay: float) -> None:
        super().__init__()
        self.decay = decay
        self.names = [name for name, p in module.named_parameters() if p.requires_grad]
        self.register_buffer("updates", torch.zeros((), dtype=torch.int64, device="cpu"))
        for name in self.names:
            self.register_buffer(_mangled(name), module.get_parameter(name).detach().clone())
        self._known: tuple[int, Tensor, int] | None = None

    @torch.no_grad()
    def follow(self, module: nn.Module) -> None:
        """Lie where the module's parameters now lie: a part of each on every rank, where they are sharded."""
        for name, copy in zip(self.names, self._copies(), strict=True):
            setattr(self, _mangled(name), _placed_like(module.get_parameter(name).detach(), copy))

    @torch.no_grad()
    def update(self, module: nn.Module) -> None:
        """Move towards the module's parameters; call once an optimizer step."""
        count = self._count() + 1
        self.updates += 1
        self._known = count, self.updates, self.updates._version
        decay = min(self.decay, (1 + count) / (10 + count))
        torch._foreach_lerp_(self._copies(), self._parameters_of(module), 1 - decay)

    @contextmanager
    def applied(self, module: nn.Module) -> Iterator[None]:
        """The module with averaged parameters; its own come back at the end."""
        self._exchange(module)
        try:
            yield
        finally:
            self._exchange(module)

    def _count(self) -> int:
        """What `updates` says, read only if another than `update` wrote it: a GPU would first do all that it has to do.

        A checkpoint may be read in place, which torch counts as a version of the tensor and tells nobody.
        """
        if self._known is not None:
            count, tensor, version = self._known
            if tensor is self.updates and tensor._version == version:
                return count
        return int(self.updates)

    @torch.no_grad()
    def _exchange(self, module: nn.Module) -> None:
        """Numbers and not storage, which a sharded module has other views of."""
        for parameter, copy in zip(self._parameters_of(module), self._copies(), strict=True):
            own = parameter.detach().clone()
            parameter.copy_(copy)
            copy.copy_(own)

    def _copies(self) -> list[Tensor]:
        return [self.get_buffer(_mangled(name)) for name in self.names]

    def _parameters_of(self, module: nn.Module) -> list[Tensor]:
        return [module.get_parameter(name) for name in self.names]


def _placed_like(parameter: Tensor, copy: Tensor) -> Tensor:
    """The copy as the parameter lies; of one that had no numbers yet, the parameter's own."""
    if copy.is_meta:
        return parameter.clone()
    if isinstance(parameter, DTensor) and not isinstance(copy, DTensor):
        return distribute_tensor(copy, parameter.device_mesh, parameter.placements, src_data_rank=None)
    return copy


def _mangled(name: str) -> str:
    return name.replace(".", "/")
