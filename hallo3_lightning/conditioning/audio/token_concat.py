"""Audio by concatenation to self-attention: audio tokens are extra keys and values for text and video."""

from torch import Tensor

from hallo3_lightning.batch import Batch
from hallo3_lightning.conditioning.adapters import ContextTokens
from hallo3_lightning.conditioning.audio_tokens import AudioTokens
from hallo3_lightning.conditioning.conditioner import Conditioner, Inputs
from hallo3_lightning.model.sites import Adapter
from hallo3_lightning.model.transformer import Backbone


class AudioTokenConcat(Conditioner):
    """Audio tokens join self-attention through key and value projections of their own.

    The queries are the backbone's and may be frozen: alone they cannot learn which frame's sound to look at, so the
    tokens of a latent frame are shown to its own patches only (a time alignment, as arXiv 2512.18772 adds to 3D
    attention), in a softmax of their own.

    Args:
        tokens: A, audio tokens of a latent frame.
        width: channels of an audio token.
        hidden: width of the projector's hidden layers.
        apart: a softmax of their own, by latent frame; false: one softmax with text and video, seen by all. Joint
            tokens change the backbone's output from the start, even with values of zero.
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
        apart: bool = True,
    ) -> None:
        super().__init__(backbone, inputs)
        self.apart = apart
        self.width = width
        self.audio_tokens = AudioTokens(inputs.audio_layers, inputs.audio_channels, hidden, tokens, width)

    def encode(self, batch: Batch) -> Tensor:
        return self.audio_tokens(batch.audio_features)

    def adapter(self, block: int) -> Adapter:
        size = self.backbone
        return ContextTokens(size.width, size.heads, self.width, size.attention_norm_eps, self.apart)
