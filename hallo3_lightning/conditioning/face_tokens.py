"""Face embedding -> face tokens: shared by the identity strategies that read it."""

from einops import rearrange
from torch import Tensor, nn


class FaceTokens(nn.Module):
    """An identity vector [B, E] -> K tokens [B, 1, K, Cf], the same for every latent frame.

    Source: the published network (4 tokens of 1024).
    """

    def __init__(self, embedding_width: int, tokens: int, width: int) -> None:
        super().__init__()
        self.tokens = tokens
        self.proj = nn.Linear(embedding_width, tokens * width)
        self.norm = nn.LayerNorm(width)

    def forward(self, embedding: Tensor) -> Tensor:
        return self.norm(rearrange(self.proj(embedding), "b (k c) -> b 1 k c", k=self.tokens))
