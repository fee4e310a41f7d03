"""KID: how far the frames of two sets of clips are apart, whatever their number."""

from typing import ClassVar

from torch import Tensor

from hallo3_lightning.backbones.inception import PREPROCESSINGS
from hallo3_lightning.evaluation.distances import kernel
from hallo3_lightning.evaluation.published_metric import SetDistance


class KID(SetDistance):
    """Kernel distance of Inception features of all frames of all clips (arXiv 1801.01401), all rows at once, no subsets."""

    title: ClassVar[str] = "KID"
    few: ClassVar[int] = 30
    biased: ClassVar[bool] = False
    variants: ClassVar[tuple[str, ...]] = tuple(PREPROCESSINGS)

    @property
    def features(self) -> tuple[str, ...]:
        return (f"inception/{self.variant}",)

    def distance(self, real: Tensor, fake: Tensor) -> float:
        return kernel(real, fake)
