"""Attention with normalised queries and keys, in parts that adapters may use one by one."""

from collections.abc import Iterable
from dataclasses import dataclass

import torch
from einops import rearrange
from torch import Tensor, nn
from torch.nn.functional import scaled_dot_product_attention


@dataclass(frozen=True)
class KeysValues:
    """Keys and values [B, heads, K, d] of K tokens; keys are normalised, and rotated if they are to be.

    `latent_frame` [K] says for each token which latent frame alone may see it; None: everything sees all of them.
    """

    keys: Tensor
    values: Tensor
    latent_frame: Tensor | None = None


def joined(parts: Iterable[KeysValues]) -> KeysValues:
    """All tokens one after the other, to be seen as `visible` says."""
    parts = list(parts)
    return KeysValues(torch.cat([p.keys for p in parts], dim=2), torch.cat([p.values for p in parts], dim=2))


def visible(query_frame: Tensor, parts: Iterable[KeysValues]) -> Tensor | None:
    """Mask [queries, keys] of the joined parts, true where a query sees a key; None where every query sees all.

    `query_frame` [queries] is the latent frame of each query, -1 for text.
    """
    parts = list(parts)
    if all(part.latent_frame is None for part in parts):
        return None
    columns = [
        query_frame.new_ones(len(query_frame), part.keys.shape[2], dtype=torch.bool)
        if part.latent_frame is None
        else query_frame[:, None] == part.latent_frame
        for part in parts
    ]
    return torch.cat(columns, dim=1)


def split_heads(tokens: Tensor, heads: int) -> Tensor:
    """[B, K, heads * d] -> [B, heads, K, d]."""
    return rearrange(tokens, "b k (heads d) -> b heads k d", heads=heads)


def attend(queries: Tensor, context: KeysValues, mask: Tensor | None = None) -> Tensor:
    """softmax(q k / sqrt(d)) v of queries [B, heads, N, d] -> [B, N, heads * d]; `mask` [N, K] is true where seen."""
    mixed = scaled_dot_product_attention(queries, context.keys, context.values, attn_mask=mask)
    return rearrange(mixed, "b heads n d -> b n (heads d)")


class Attention(nn.Module):
    """Projections and norms of one attention; state keys are those of diffusers' `Attention`.

    One norm over the head width serves the queries of all heads, another the keys.
    """

    def __init__(self, width: int, heads: int, norm_eps: float) -> None:
        super().__init__()
        self.heads = heads
        self.to_q = nn.Linear(width, width)
        self.to_k = nn.Linear(width, width)
        self.to_v = nn.Linear(width, width)
        self.to_out = nn.ModuleList([nn.Linear(width, width)])
        self.norm_q = nn.LayerNorm(width // heads, eps=norm_eps)
        self.norm_k = nn.LayerNorm(width // heads, eps=norm_eps)

    def queries(self, tokens: Tensor) -> Tensor:
        """Normalised queries [B, heads, K, d] of tokens [B, K, C]."""
        return self.norm_q(split_heads(self.to_q(tokens), self.heads))

    def keys_values(self, tokens: Tensor) -> KeysValues:
        """Normalised keys, and values, of tokens [B, K, C]."""
        keys = self.norm_k(split_heads(self.to_k(tokens), self.heads))
        return KeysValues(keys, split_heads(self.to_v(tokens), self.heads))

    def output(self, queries: Tensor, context: KeysValues, mask: Tensor | None = None) -> Tensor:
        """[B, N, C] for queries [B, heads, N, d]."""
        return self.to_out[0](attend(queries, context, mask))
