"""FVD: how far two sets of videos are apart."""

from typing import ClassVar

from torch import Tensor

from hallo3_lightning.evaluation.distances import frechet
from hallo3_lightning.evaluation.features.i3d import I3D
from hallo3_lightning.evaluation.published_metric import SetDistance


class FVD(SetDistance):
    """Fréchet distance of I3D logits, one row a clip (arXiv 1812.01717).

    Variants are preprocessings, of the whole clip or of its first 16 frames. disco is what Hallo reports; cdfvd divides
    covariances by N, as its authors do.
    """

    title: ClassVar[str] = "FVD"
    variants: ClassVar[tuple[str, ...]] = I3D.variants

    @property
    def features(self) -> tuple[str, ...]:
        return (f"i3d/{self.variant}",)

    def distance(self, real: Tensor, fake: Tensor) -> float:
        return frechet(real, fake, biased=self.variant.startswith("cdfvd"))
