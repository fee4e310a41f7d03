"""Audio by cross-attention after self-attention: the published choice."""

import math

from torch import Tensor

from hallo3_lightning.batch import Batch
from hallo3_lightning.conditioning import adapters
from hallo3_lightning.conditioning.audio_tokens import AudioTokens
from hallo3_lightning.conditioning.conditioner import Conditioner, Inputs
from hallo3_lightning.model.sites import Adapter
from hallo3_lightning.model.transformer import Backbone


class AudioCrossAttention(Conditioner):
    """The patches of a latent frame attend to the audio tokens of that latent frame.

    Args:
        tokens: A, audio tokens of a latent frame.
        width: channels of an audio token.
        hidden: width of the projector's hidden layers.
        neutral: start with the backbone's output unchanged; the published code does not.
    """

    starts_neutral = True
    needs = ("audio_features",)

    def __init__(
        self,
        backbone: Backbone,
        inputs: Inputs,
        tokens: int = 32,
        width: int = 768,
        hidden: int = 512,
        neutral: bool = True,
    ) -> None:
        super().__init__(backbone, inputs)
        self.neutral = neutral
        self.width = width
        self.audio_tokens = AudioTokens(inputs.audio_layers, inputs.audio_channels, hidden, tokens, width)

    def encode(self, batch: Batch) -> Tensor:
        return self.audio_tokens(batch.audio_features)

    def adapter(self, block: int) -> Adapter:
        size = self.backbone
        std = 0.02 / math.sqrt(2 * size.blocks)
        return adapters.CrossAttention(size.width, size.heads, self.width, size.norm_eps, self.neutral, std)
