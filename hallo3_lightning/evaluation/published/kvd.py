"""KVD: how far two sets of videos are apart, whatever their number."""

from typing import ClassVar

from torch import Tensor

from hallo3_lightning.evaluation.distances import kernel
from hallo3_lightning.evaluation.published.fvd import FEATURES
from hallo3_lightning.evaluation.published_metric import SetDistance


class KVD(SetDistance):
    """Kernel distance of I3D logits, one row a clip; its mean is 0 for two sets of one distribution (arXiv 1812.01717)."""

    title: ClassVar[str] = "KVD"
    few: ClassVar[int] = 30
    biased: ClassVar[bool] = False
    variants: ClassVar[tuple[str, ...]] = tuple(FEATURES)

    @property
    def features(self) -> tuple[str, ...]:
        return (FEATURES[self.variant],)

    def distance(self, real: Tensor, fake: Tensor) -> float:
        return kernel(real, fake)
