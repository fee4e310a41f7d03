"""Which parts stand on the device only while they work."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from hallo3_lightning.errors import unknown

PARTS = ("text", "audio", "video", "denoiser")
"""The frozen encoders (video decodes too), and the denoiser."""


@dataclass(frozen=True)
class Residency:
    """What is idle waits in main memory: slower by the way there and back, once a window; the numbers are the same.

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
        part.to(torch.device(self.device))
        try:
            yield
        finally:
            part.to("cpu")
