"""E-FID: how far the expressions in two sets of clips are apart."""

from typing import ClassVar

from torch import Tensor

from hallo3_lightning.evaluation.distances import frechet
from hallo3_lightning.evaluation.published_metric import SetDistance

FEATURES = {"deep3d64": "expression/deep3d64", "precomputed": "expression_file/given"}


class EFID(SetDistance):
    """Fréchet distance of expressions of all frames with a face.

    deep3d64: 64 numbers of Deep3DFaceRecon's R-Net; precomputed: those of any tracker, from x.expression.npy beside
    x.mp4. Hallo's own is the tracker of ER-NeRF with 79 numbers, which is no part of this project.
    """

    title: ClassVar[str] = "E-FID"
    variants: ClassVar[tuple[str, ...]] = tuple(FEATURES)

    @property
    def features(self) -> tuple[str, ...]:
        return (FEATURES[self.variant],)

    def distance(self, real: Tensor, fake: Tensor) -> float:
        return frechet(real, fake)
