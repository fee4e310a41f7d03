"""The adapters that strategies are made of: one for each site."""

from einops import rearrange, repeat
from torch import Tensor, nn
from torch.nn.functional import silu

from hallo3_lightning.model.attention import KeysValues, attend, split_heads
from hallo3_lightning.model.sites import Adapter, BlockModulation, Host, Modulation, Prepared


class CrossAttention(Adapter):
    """Residual site: the patches of latent frame t attend to the context tokens of latent frame t.

    Queries and keys pass through the norms of the block's own self-attention; queries are rotated by place in the
    picture, keys are not. Source: the published Hallo3 network.

    Args:
        width: C.
        heads: attention heads, those of the block.
        context_width: channels of a context token.
        neutral: whether the output projection starts at zero, so that the block starts unchanged; the published
            code starts it at normal noise of `output_std` and so disturbs the backbone at step 0.
        output_std: deviation of the output projection when not neutral.
    """

    def __init__(
        self, width: int, heads: int, context_width: int, norm_eps: float, neutral: bool, output_std: float
    ) -> None:
        super().__init__()
        self.heads = heads
        self.norm = nn.LayerNorm(width, eps=norm_eps)
        self.to_q = nn.Linear(width, width)
        self.to_k = nn.Linear(context_width, width)
        self.to_v = nn.Linear(context_width, width)
        self.to_out = nn.Linear(width, width)
        self.neutral, self.output_std = neutral, output_std
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Projections begin as small noise, the last one as `neutral` and `output_std` say."""
        for linear in (self.to_q, self.to_k, self.to_v, self.to_out):
            nn.init.normal_(linear.weight, std=self.output_std if linear is self.to_out else 0.02)
            nn.init.zeros_(linear.bias)
        if self.neutral:
            nn.init.zeros_(self.to_out.weight)

    def prepare(self, signal: Tensor, host: Host) -> Prepared:
        """signal [B, T, A, Ca], or [B, 1, A, Ca] where all frames share it."""
        context = rearrange(signal, "b t a c -> (b t) a c")
        keys = host.attention.norm_k(split_heads(self.to_k(context), self.heads))
        return Prepared(keys_values=KeysValues(keys, split_heads(self.to_v(context), self.heads)))

    def residual(self, video: Tensor, prepared: Prepared, host: Host) -> Tensor:
        assert prepared.keys_values is not None
        batch, frames, _, _ = video.shape
        tokens = rearrange(self.norm(video), "b t n c -> (b t) n c")
        queries = host.attention.norm_q(split_heads(self.to_q(tokens), self.heads))
        if host.frame_rotary is not None:
            queries = host.frame_rotary(queries)
        context = prepared.keys_values
        if len(context.keys) == batch and frames > 1:
            context = KeysValues(_each_frame(context.keys, frames), _each_frame(context.values, frames))
        return rearrange(self.to_out(attend(queries, context)), "(b t) n c -> b t n c", b=batch)


def _each_frame(tokens: Tensor, frames: int) -> Tensor:
    return repeat(tokens, "b heads k d -> (b t) heads k d", t=frames)


class AdaptiveNorm(Adapter):
    """Modulation site: shift, scale and gate of both sublayers from the mean context token of each latent frame.

    Starts at zero, so that the block starts unchanged. Source: adaLN-Zero, arXiv 2212.09748, per latent frame.
    """

    def __init__(self, width: int, context_width: int) -> None:
        super().__init__()
        self.linear = nn.Linear(context_width, 6 * width)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Begin at zero."""
        nn.init.zeros_(self.linear.weight)
        nn.init.zeros_(self.linear.bias)

    def prepare(self, signal: Tensor, host: Host) -> Prepared:
        """signal [B, T or 1, A, Ca]."""
        terms = self.linear(silu(signal.mean(dim=2)))
        parts = rearrange(terms, "b t (six c) -> six b t 1 c", six=6)
        return Prepared(modulation=BlockModulation(Modulation(*parts[:3]), Modulation(*parts[3:])))

    def modulation(self, prepared: Prepared) -> BlockModulation | None:
        return prepared.modulation


class ContextTokens(Adapter):
    """Tokens site: context tokens join self-attention as keys and values through projections of the adapter's own.

    The queries are the backbone's and may be frozen. Apart, the tokens of a latent frame are seen by its own patches in a
    softmax of their own, and their values start at zero, so that the block starts unchanged (zero-initialised
    attention, arXiv 2303.16199). Joint, they stand in one softmax with text and video, seen by all, their keys rotated
    by the time of their latent frame; a few tokens among keys that the queries were trained on then get under 1 % of
    the attention, and learned little or nothing at tiny size (experiments/LOG.md).

    Args:
        width: C.
        heads: attention heads, those of the block.
        context_width: channels of a context token.
        norm_eps: epsilon of the norm of keys.
        apart: whether the tokens have a softmax of their own.
    """

    def __init__(self, width: int, heads: int, context_width: int, norm_eps: float, apart: bool) -> None:
        super().__init__()
        self.heads = heads
        self.apart = apart
        self.to_k = nn.Linear(context_width, width)
        self.to_v = nn.Linear(context_width, width)
        self.norm_k = nn.LayerNorm(width // heads, eps=norm_eps)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Values begin at zero."""
        nn.init.zeros_(self.to_v.weight)
        nn.init.zeros_(self.to_v.bias)

    def prepare(self, signal: Tensor, host: Host) -> Prepared:
        """signal [B, T, A, Ca]."""
        keys = self.norm_k(rearrange(self.to_k(signal), "b t a (heads d) -> b heads a t d", heads=self.heads))
        values = self.to_v(signal)
        if self.apart:
            keys = rearrange(keys, "b heads a t d -> (b t) heads a d")
            values = rearrange(values, "b t a (heads d) -> (b t) heads a d", heads=self.heads)
            return Prepared(keys_values=KeysValues(keys, values, apart=True))
        if host.time_rotary is not None:
            keys = host.time_rotary(keys)
        keys = rearrange(keys, "b heads a t d -> b heads (t a) d")
        values = rearrange(values, "b t a (heads d) -> b heads (t a) d", heads=self.heads)
        return Prepared(keys_values=KeysValues(keys, values))

    def tokens(self, prepared: Prepared) -> KeysValues | None:
        return prepared.keys_values


class GuestTokens(Adapter):
    """Tokens site: tokens [B, K, C] of another network join self-attention through the block's own projections."""

    def prepare(self, signal: Tensor, host: Host) -> Prepared:
        return Prepared(keys_values=host.attention.keys_values(signal))

    def tokens(self, prepared: Prepared) -> KeysValues | None:
        return prepared.keys_values
