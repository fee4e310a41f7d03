"""Identity by cross-attention to tokens of the face embedding: published beside the reference network."""

import math

from torch import Tensor

from hallo3_lightning.batch import Batch
from hallo3_lightning.conditioning.adapters import CrossAttention
from hallo3_lightning.conditioning.conditioner import Conditioner, Inputs
from hallo3_lightning.conditioning.face_tokens import FaceTokens
from hallo3_lightning.model.sites import Adapter
from hallo3_lightning.model.transformer import Backbone


class FaceAttention(Conditioner):
    """All patches attend to a few tokens made of the face embedding.

    Args:
        tokens: face tokens.
        width: channels of a face token.
        neutral: start with the backbone's output unchanged; the published code does not.
    """

    starts_neutral = True
    needs = ("face_embedding",)

    def __init__(
        self, backbone: Backbone, inputs: Inputs, tokens: int = 4, width: int = 1024, neutral: bool = True
    ) -> None:
        super().__init__(backbone, inputs)
        self.neutral = neutral
        self.width = width
        self.face_tokens = FaceTokens(inputs.face_width, tokens, width)

    def encode(self, batch: Batch) -> Tensor:
        return self.face_tokens(batch.face_embedding)

    def adapter(self, block: int) -> Adapter:
        size = self.backbone
        std = 0.02 / math.sqrt(2 * size.blocks)
        return CrossAttention(size.width, size.heads, self.width, size.norm_eps, self.neutral, std)
