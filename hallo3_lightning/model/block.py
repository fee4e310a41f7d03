"""One transformer block: expert adaLN, self-attention over text and video, MLP, and three sites for adapters."""

from collections.abc import Callable, Mapping
from typing import Any

import torch
from einops import rearrange, repeat
from torch import Tensor, nn
from torch.nn.functional import silu

from hallo3_lightning.model.attention import Attention, KeysValues
from hallo3_lightning.model.positions import Rotary
from hallo3_lightning.model.precision import uncast
from hallo3_lightning.model.sites import (
    Adapter,
    BlockModulation,
    Conditions,
    Host,
    Modulation,
    Prepared,
)


class ExpertNorm(nn.Module):
    """A norm shared by video and text, and the modulation of each from the time embedding.

    State keys are those of diffusers' `CogVideoXLayerNormZero`.
    """

    def __init__(self, width: int, time_width: int, eps: float) -> None:
        super().__init__()
        self.linear = nn.Linear(time_width, 6 * width)
        self.norm = nn.LayerNorm(width, eps=eps)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Begin as norms without time: shift and scale 0, gates 1. Loaded weights replace this."""
        nn.init.zeros_(self.linear.weight)
        gates = torch.tensor([0.0, 0.0, 1.0] * 2)
        with torch.no_grad():
            self.linear.bias.copy_(repeat(gates, "six -> (six c)", c=self.linear.out_features // 6))

    def modulations(self, time: Tensor) -> tuple[Modulation, Modulation]:
        """Modulation of the video [B, 1, 1, C] and of the text [B, 1, C] for time [B, E]."""
        with uncast(time):
            video, text = self.linear(silu(time)).chunk(2, dim=-1)
        return (
            Modulation(*rearrange(video, "b (three c) -> three b 1 1 c", three=3)),
            Modulation(*rearrange(text, "b (three c) -> three b 1 c", three=3)),
        )


class FeedForward(nn.Module):
    """Linear, tanh-GELU, linear; state keys are those of diffusers' `FeedForward`."""

    def __init__(self, width: int) -> None:
        super().__init__()
        project = nn.Module()
        project.proj = nn.Linear(width, 4 * width)
        self.net = nn.ModuleList([project, nn.GELU(approximate="tanh"), nn.Linear(4 * width, width)])

    def forward(self, tokens: Tensor) -> Tensor:
        project, activation, out = self.net
        return out(activation(project.get_submodule("proj")(tokens)))


Run = Callable[..., Any]
"""Calls a function with its arguments, and may arrange for the backward pass to call it again: (function, *arguments)."""


def kept(function: Callable[..., Any], *arguments: Any) -> Any:
    """Call it; what it computes is kept for the backward pass."""
    return function(*arguments)


class Block(nn.Module):
    """video [B, T, N, C] and text [B, L, C] -> the same shapes.

    The adapters are owned by the block, so that they shard, recompute and compile with it. State keys other than
    `adapters.*` are those of diffusers' `CogVideoXBlock`.
    """

    def __init__(self, width: int, heads: int, time_width: int, norm_eps: float, attention_norm_eps: float) -> None:
        super().__init__()
        self.norm1 = ExpertNorm(width, time_width, norm_eps)
        self.attn1 = Attention(width, heads, attention_norm_eps)
        self.norm2 = ExpertNorm(width, time_width, norm_eps)
        self.ff = FeedForward(width)
        self.adapters = nn.ModuleDict()
        self.run: Run = kept

    def recompute(self, run: Run) -> None:
        """From now on `run` decides what is kept of a forward pass for the backward pass."""
        self.run = run

    def forward(
        self, video: Tensor, text: Tensor, time: Tensor, rotary: Rotary | None, conditions: Conditions
    ) -> tuple[Tensor, ...]:
        """`conditions` maps the name of each adapter to its signal, or to what it prepared from it."""
        return self.run(self.passed, video, text, time, rotary, conditions)

    def passed(
        self, video: Tensor, text: Tensor, time: Tensor, rotary: Rotary | None, conditions: Conditions
    ) -> tuple[Tensor, ...]:
        """Video and text behind the block, first."""
        host = Host(self.attn1, rotary, latent_frames=video.shape[1])
        prepared = {name: self._prepared(name, conditions[name], host) for name in self.adapters}
        modulation, text_modulation = self._modulations(time, prepared)

        attended, text_attended = self._attend(
            modulation.attention.apply(self.norm1.norm(video)),
            text_modulation.attention.apply(self.norm1.norm(text)),
            rotary,
            [self._adapter(name).tokens(prepared[name]) for name in self.adapters],
        )
        video = modulation.attention.gated(video, attended)
        text = text_modulation.attention.gated(text, text_attended)

        for name in self.adapters:
            residual = self._adapter(name).residual(video, prepared[name], host)
            video = video if residual is None else video + residual

        fed, text_fed = self._feed(
            modulation.mlp.apply(self.norm2.norm(video)), text_modulation.mlp.apply(self.norm2.norm(text))
        )
        return modulation.mlp.gated(video, fed), text_modulation.mlp.gated(text, text_fed)

    def attention_input(self, video: Tensor, time: Tensor) -> Tensor:
        """What self-attention would see of the video: normalised and modulated, [B, T, N, C]."""
        modulation, _ = self.norm1.modulations(time)
        return modulation.apply(self.norm1.norm(video))

    def prepare(self, conditions: Mapping[str, Tensor], rotary: Rotary | None, latent_frames: int) -> Conditions:
        """What the adapters derive from the signals alone; `forward` gives the same numbers with it."""
        host = Host(self.attn1, rotary, latent_frames)
        return {name: self._prepared(name, conditions[name], host) for name in self.adapters}

    def _adapter(self, name: str) -> Adapter:
        adapter = self.adapters[name]
        assert isinstance(adapter, Adapter)
        return adapter

    def _prepared(self, name: str, condition: Tensor | Prepared, host: Host) -> Prepared:
        return condition if isinstance(condition, Prepared) else self._adapter(name).prepare(condition, host)

    def _modulations(self, time: Tensor, prepared: Mapping[str, Prepared]) -> tuple[BlockModulation, BlockModulation]:
        attention, text_attention = self.norm1.modulations(time)
        mlp, text_mlp = self.norm2.modulations(time)
        modulation = BlockModulation(attention, mlp)
        for name in self.adapters:
            extra = self._adapter(name).modulation(prepared[name])
            modulation = modulation if extra is None else modulation + extra
        return modulation, BlockModulation(text_attention, text_mlp)

    def _attend(
        self, video: Tensor, text: Tensor, rotary: Rotary | None, extra: list[KeysValues | None]
    ) -> tuple[Tensor, Tensor]:
        """Self-attention over [text, video] with extra keys and values; only the video is rotated."""
        flat = _joined(text, video)
        queries, own = self.attn1.queries(flat), self.attn1.keys_values(flat)
        if rotary is not None:
            whole = rotary.behind(text.shape[1])
            queries, own = whole(queries), KeysValues(whole(own.keys), own.values)
        parts = [own, *(part for part in extra if part is not None)]
        return _parted(self.attn1.output(queries, parts, text.shape[1], video.shape[1]), text, video)

    def _feed(self, video: Tensor, text: Tensor) -> tuple[Tensor, Tensor]:
        """The MLP over both at once: a few text tokens alone would use its weights poorly."""
        return _parted(self.ff(_joined(text, video)), text, video)


def _joined(text: Tensor, video: Tensor) -> Tensor:
    """Text [B, L, C], then video [B, T, N, C]: [B, L + T N, C]."""
    return torch.cat([text, rearrange(video, "b t n c -> b (t n) c")], dim=1)


def _parted(flat: Tensor, text: Tensor, video: Tensor) -> tuple[Tensor, Tensor]:
    """Video and text of what was joined, shaped like them."""
    first, rest = flat.split([text.shape[1], flat.shape[1] - text.shape[1]], dim=1)
    return rearrange(rest, "b (t n) c -> b t n c", t=video.shape[1]), first
