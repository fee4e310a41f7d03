"""FID: how far the frames of two sets of clips are apart."""

from typing import ClassVar

from torch import Tensor

from hallo3_lightning.backbones.inception import PREPROCESSINGS
from hallo3_lightning.evaluation.distances import frechet
from hallo3_lightning.evaluation.published_metric import SetDistance


class FID(SetDistance):
    """Fréchet distance of Inception features of all frames of all clips (arXiv 1706.08500).

    Variants are preprocessings: pytorch_fid is what DisCo and Hallo report.
    """

    title: ClassVar[str] = "FID"
    variants: ClassVar[tuple[str, ...]] = tuple(PREPROCESSINGS)

    @property
    def features(self) -> tuple[str, ...]:
        return (f"inception/{self.variant}",)

    def distance(self, real: Tensor, fake: Tensor) -> float:
        return frechet(real, fake)
