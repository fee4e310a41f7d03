"""Attention with normalised queries and keys, in parts that adapters may use one by one."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import torch
from einops import rearrange
from torch import Tensor, nn
from torch.nn.functional import pad, scaled_dot_product_attention


@dataclass(frozen=True)
class KeysValues:
    """Keys and values [B, heads, K, d] of K tokens; keys are normalised, and rotated if they are to be.

    `apart`: not in one softmax with the rest but in one of their own, rows [B * T, heads, K, d], the tokens of latent
    frame t seen by the patches of latent frame t alone.
    """

    keys: Tensor
    values: Tensor
    apart: bool = False


def joined(parts: Iterable[KeysValues]) -> KeysValues:
    """All tokens one after the other, for one softmax."""
    parts = list(parts)
    if len(parts) == 1:
        return parts[0]  # to join one would copy it
    return KeysValues(torch.cat([p.keys for p in parts], dim=2), torch.cat([p.values for p in parts], dim=2))


def split_heads(tokens: Tensor, heads: int) -> Tensor:
    """[B, K, heads * d] -> [B, heads, K, d]."""
    return rearrange(tokens, "b k (heads d) -> b heads k d", heads=heads)


def attend(queries: Tensor, context: KeysValues) -> Tensor:
    """softmax(q k / sqrt(d)) v of queries [B, heads, N, d] -> [B, N, heads * d]."""
    mixed = scaled_dot_product_attention(queries, context.keys, context.values)
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

    def output(self, queries: Tensor, parts: Sequence[KeysValues], text_tokens: int, latent_frames: int) -> Tensor:
        """[B, L + T N, C] for queries [B, heads, L + T N, d] of L text tokens and T latent frames."""
        mixed = attend(queries, joined(part for part in parts if not part.apart))
        for part in parts:
            if part.apart:
                mixed = mixed + _attend_by_frame(queries[:, :, text_tokens:], part, latent_frames, text_tokens)
        return self.to_out[0](mixed)


def _attend_by_frame(video: Tensor, context: KeysValues, latent_frames: int, text_tokens: int) -> Tensor:
    """What the patches of each latent frame find in its own tokens, behind zeros for the text."""
    queries = rearrange(video, "b heads (t n) d -> (b t) heads n d", t=latent_frames)
    found = rearrange(attend(queries, context), "(b t) n c -> b (t n) c", t=latent_frames)
    return pad(found, (0, 0, text_tokens, 0))
