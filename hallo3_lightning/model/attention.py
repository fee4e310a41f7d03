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
    `prominence` [heads] is added to what every query scores these tokens with; None: nothing is.
    """

    keys: Tensor
    values: Tensor
    latent_frame: Tensor | None = None
    prominence: Tensor | None = None

    @property
    def is_plain(self) -> bool:
        return self.latent_frame is None and self.prominence is None


def joined(parts: Iterable[KeysValues]) -> KeysValues:
    """All tokens one after the other; who sees which, and how prominently, is in their `scores`."""
    parts = list(parts)
    return KeysValues(torch.cat([p.keys for p in parts], dim=2), torch.cat([p.values for p in parts], dim=2))


def scores(query_frame: Tensor, parts: Iterable[KeysValues]) -> Tensor | None:
    """What is added to q k / sqrt(d) for the joined parts, [heads, queries, keys]; None where that is nothing.

    `query_frame` [queries] is the latent frame of each query, -1 for text.
    """
    parts = list(parts)
    if all(part.is_plain for part in parts):
        return None
    return torch.cat([_score(query_frame, part) for part in parts], dim=2)


def _score(query_frame: Tensor, part: KeysValues) -> Tensor:
    _, heads, tokens, _ = part.keys.shape
    score = part.keys.new_zeros(heads, len(query_frame), tokens)
    if part.prominence is not None:
        score = score + rearrange(part.prominence, "heads -> heads 1 1").to(score.dtype)
    if part.latent_frame is not None:
        score = score.masked_fill(query_frame[:, None] != part.latent_frame, float("-inf"))
    return score


def split_heads(tokens: Tensor, heads: int) -> Tensor:
    """[B, K, heads * d] -> [B, heads, K, d]."""
    return rearrange(tokens, "b k (heads d) -> b heads k d", heads=heads)


def attend(queries: Tensor, context: KeysValues, added: Tensor | None = None) -> Tensor:
    """softmax(q k / sqrt(d) + added) v of queries [B, heads, N, d] -> [B, N, heads * d]."""
    mixed = scaled_dot_product_attention(queries, context.keys, context.values, attn_mask=added)
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
        return self._normalised(self.norm_q, self.to_q(tokens))

    def keys_values(self, tokens: Tensor) -> KeysValues:
        """Normalised keys, and values, of tokens [B, K, C]."""
        keys = self._normalised(self.norm_k, self.to_k(tokens))
        return KeysValues(keys, split_heads(self.to_v(tokens), self.heads))

    def _normalised(self, norm: nn.Module, tokens: Tensor) -> Tensor:
        """[B, K, heads * d] -> [B, heads, K, d]; before the axes are swapped, which spares the norm a copy."""
        heads = norm(rearrange(tokens, "b k (heads d) -> b k heads d", heads=self.heads))
        return rearrange(heads, "b k heads d -> b heads k d")

    def output(self, queries: Tensor, context: KeysValues, added: Tensor | None = None) -> Tensor:
        """[B, N, C] for queries [B, heads, N, d]."""
        return self.to_out[0](attend(queries, context, added))
