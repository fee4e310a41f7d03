"""The denoiser: a backbone, its conditioners, and their adapters in its blocks."""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from hallo3_lightning.batch import Batch
from hallo3_lightning.conditioning.conditioner import Conditioner, Inputs, conditioners
from hallo3_lightning.model.sites import Conditions, Signal
from hallo3_lightning.model.transformer import Backbone, Stack, Transformer, by_block, every_block


class Denoiser(nn.Module):
    """Predicts v of noisy latents [B, T, c, h, w] under the conditions of a batch.

    Args:
        backbone: sizes of the transformer.
        conditioners: by name, in the order in which a block asks their adapters.
    """

    def __init__(self, backbone: Backbone, conditioners: Mapping[str, Conditioner]) -> None:
        super().__init__()
        self.transformer = Transformer(backbone)
        self.conditioners = nn.ModuleDict(conditioners)
        for i, block in enumerate(self.transformer.blocks):
            for name, conditioner in conditioners.items():
                block.adapters[name] = conditioner.adapter(i)

    def completed(self, given: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Parameters by name, and what conditioners of which there is nothing take over from those of the backbone."""
        found = dict(given)
        backbone = {
            name.removeprefix("transformer."): value for name, value in given.items() if name.startswith("transformer.")
        }
        for name, conditioner in self._conditioners().items():
            prefix = f"conditioners.{name}."
            if not any(key.startswith(prefix) for key in given):
                found |= {prefix + key: value for key, value in conditioner.from_backbone(backbone).items()}
        return found

    def unread(self) -> set[str]:
        """Names of the parameters that reach nothing, which published networks have all the same."""
        return {
            f"conditioners.{name}.{parameter}"
            for name, conditioner in self._conditioners().items()
            for parameter in conditioner.unread()
        }

    @property
    def needs(self) -> dict[str, tuple[str, ...]]:
        """Batch fields that each conditioner reads."""
        return {name: conditioner.needs for name, conditioner in self._conditioners().items()}

    def signals(self, batch: Batch) -> dict[str, Signal]:
        """What each conditioner makes of the batch."""
        return {name: conditioner.encode(batch) for name, conditioner in self._conditioners().items()}

    def branch_signals(self, branches: Sequence[Batch]) -> dict[str, Signal]:
        """Signals of all branches one after the other; a branch that differs in nothing a conditioner reads shares."""
        signals = {}
        for name, conditioner in self._conditioners().items():
            made: list[Signal] = []
            for i, branch in enumerate(branches):
                same = [j for j in range(i) if _alike(branches[j], branch, conditioner.needs)]
                made.append(made[same[0]] if same else conditioner.encode(branch))
            signals[name] = _stacked(made)
        return signals

    def prepared(self, signals: Mapping[str, Signal], like: Tensor) -> Sequence[Conditions]:
        """What the adapters derive from signals alone, for latents shaped like `like`: once a window, not a step."""
        return self.transformer.prepare(like, by_block(signals, len(self.transformer.blocks)))

    def forward(
        self,
        noisy: Tensor,
        steps: Tensor,
        batch: Batch,
        conditions: Sequence[Conditions] | None = None,
        through: Stack = every_block,
    ) -> Tensor:
        """v [B, T, c, h, w] for noisy latents of the same shape at diffusion steps [B]; `through` may skip blocks."""
        if conditions is None:
            conditions = by_block(self.signals(batch), len(self.transformer.blocks))
        assert batch.motion_latents is not None
        latents = torch.cat([noisy, batch.motion_latents], dim=2)
        return self.transformer(latents, batch.text_embeddings, steps, conditions, through)

    def _conditioners(self) -> dict[str, Conditioner]:
        return dict(self.conditioners.items())  # type: ignore[arg-type]


def denoiser_of(
    backbone: Backbone, inputs: Inputs, identity: str, audio: str, options: Mapping[str, Mapping[str, Any]] | None
) -> Denoiser:
    """The denoiser that the settings of a phase ask for, with fresh weights; identity's adapters act before audio's."""
    named = options or {}
    parts = conditioners("identity", identity, backbone, inputs, named)
    return Denoiser(backbone, parts | conditioners("audio", audio, backbone, inputs, named))


def _alike(one: Batch, other: Batch, fields: tuple[str, ...]) -> bool:
    return all(getattr(one, field) is getattr(other, field) for field in fields)


def _stacked(parts: Sequence[Signal]) -> Signal:
    if isinstance(parts[0], tuple):
        return tuple(torch.cat(block) for block in zip(*parts, strict=True))
    return torch.cat(parts)  # type: ignore[arg-type]
