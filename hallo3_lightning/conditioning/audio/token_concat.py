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

    The queries are the backbone's and may be frozen: alone they cannot learn which frame's sound to look at, so a
    token is shown to its own latent frame only (a time-aligned mask, as arXiv 2512.18772 adds to 3D attention).

    Not neutral at the start: even tokens whose values are zero take part in the softmax.

    Args:
        tokens: A, audio tokens of a latent frame.
        width: channels of an audio token.
        hidden: width of the projector's hidden layers.
        aligned: show a token to its own latent frame only; false: to text and all frames.
    """

    starts_neutral = False
    needs = ("audio_features",)

    def __init__(
        self,
        backbone: Backbone,
        inputs: Inputs,
        tokens: int = 32,
        width: int = 768,
        hidden: int = 512,
        aligned: bool = True,
    ) -> None:
        super().__init__(backbone, inputs)
        self.aligned = aligned
        self.width = width
        self.audio_tokens = AudioTokens(inputs.audio_layers, inputs.audio_channels, hidden, tokens, width)

    def encode(self, batch: Batch) -> Tensor:
        return self.audio_tokens(batch.audio_features)

    def adapter(self, block: int) -> Adapter:
        size = self.backbone
        return ContextTokens(size.width, size.heads, self.width, size.attention_norm_eps, self.aligned)
