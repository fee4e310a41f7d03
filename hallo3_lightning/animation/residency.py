"""Which parts stand on the device only while they work."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from hallo3_lightning.errors import unknown

PARTS = ("text", "audio", "video", "denoiser")
"""The frozen encoders (video decodes too), and the denoiser."""


@dataclass(frozen=True)
class Residency:
    """What is idle waits in main memory: slower by the way there, once a window; the numbers are the same.

    It stays there while its copy works: nothing changes the numbers, so that there is no way back.

    Args:
        offloaded: names in PARTS; `text` is needed once a video, the others in every window.
        device: where they go to work.
    """

    offloaded: tuple[str, ...] = ()
    device: str = "cpu"

    def __post_init__(self) -> None:
        """Raise UsageError for a part that does not exist."""
        for name in self.offloaded:
            if name not in PARTS:
                raise unknown("part", name, PARTS, "offload")

    @contextmanager
    def present(self, name: str, part: Any) -> Iterator[None]:
        """Have a part on the device for as long as this lasts."""
        if name not in self.offloaded:
            yield
            return
        assert isinstance(part, nn.Module)
        waiting = list(_tensors(part))
        part.to(torch.device(self.device))
        try:
            yield
        finally:
            for own, name, tensor, numbers in waiting:
                tensor.data = numbers  # a parameter stays itself on its way to a GPU
                own[name] = tensor  # a buffer does not


def _tensors(part: nn.Module) -> Iterator[tuple[dict[str, Any], str, Tensor, Tensor]]:
    """Where each parameter and buffer is found and by which name, itself, and where its numbers lie."""
    for module in part.modules():
        for own in (module._parameters, module._buffers):
            yield from ((own, name, tensor, tensor.data) for name, tensor in own.items() if tensor is not None)
