"""Identity by adaptive layer norm from the face embedding."""

from torch import Tensor

from hallo3_lightning.batch import Batch
from hallo3_lightning.conditioning.adapters import AdaptiveNorm
from hallo3_lightning.conditioning.conditioner import Conditioner, Inputs
from hallo3_lightning.conditioning.face_tokens import FaceTokens
from hallo3_lightning.model.sites import Adapter
from hallo3_lightning.model.transformer import Backbone


class FaceAdaLN(Conditioner):
    """The mean face token shifts, scales and gates the patches of every latent frame alike.

    Args:
        tokens: face tokens.
        width: channels of a face token.
    """

    starts_neutral = True
    needs = ("face_embedding",)

    def __init__(self, backbone: Backbone, inputs: Inputs, tokens: int = 4, width: int = 1024) -> None:
        super().__init__(backbone, inputs)
        self.width = width
        self.face_tokens = FaceTokens(inputs.face_width, tokens, width)

    def encode(self, batch: Batch) -> Tensor:
        return self.face_tokens(batch.face_embedding)

    def adapter(self, block: int) -> Adapter:
        return AdaptiveNorm(self.backbone.width, self.width)
