"""The tiny stand-in for a text encoder: a fixed random vector for each word."""

import re

import torch
from torch import Tensor, nn

from hallo3_lightning.randomness import generator


class HashedWords(nn.Module):
    """The first L words of a caption, each a normal vector drawn from its letters; zeros behind the last."""

    device_marker: Tensor

    def __init__(self, tokens: int, width: int) -> None:
        super().__init__()
        self.tokens = tokens
        self.width = width
        self.register_buffer("device_marker", torch.zeros(()))

    @classmethod
    def load(cls, folder: str, tokens: int, width: int) -> "HashedWords":
        """Needs no files: `folder` is not read."""
        return cls(tokens, width)

    def encode(self, captions: tuple[str, ...]) -> Tensor:
        """[B, L, E]."""
        return torch.stack([self._caption(caption) for caption in captions]).to(self.device_marker.device)

    def _caption(self, caption: str) -> Tensor:
        words = re.findall(r"\w+", caption.lower())[: self.tokens]
        rows = [torch.randn(self.width, generator=generator(0, f"word {word}")) for word in words]
        return torch.stack(rows + [torch.zeros(self.width)] * (self.tokens - len(rows)))
