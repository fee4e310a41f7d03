"""FVD: how far two sets of videos are apart."""

from typing import ClassVar

from torch import Tensor

from hallo3_lightning.evaluation.distances import frechet
from hallo3_lightning.evaluation.features.i3d import I3D
from hallo3_lightning.evaluation.features.i3d_face import I3DFace
from hallo3_lightning.evaluation.published_metric import SetDistance

FEATURES = {variant: f"i3d/{variant}" for variant in I3D.variants} | {
    name: f"i3d_face/{name}" for name in I3DFace.variants
}
"""Of each variant, for KVD too."""


class FVD(SetDistance):
    """Fréchet distance of I3D logits, one row a clip (arXiv 1812.01717).

    Variants are preprocessings, of the whole clip or of its first 16 frames. disco is what Hallo reports; videogpt and
    styleganv differ by rounding alone, and styleganv's own file of weights, a program, is not run; cdfvd divides
    covariances by N, as its authors do; latentsync sees frames 20 to 35 of the face, in 0..1. Held to recorded numbers
    of the references are videogpt, styleganv and cdfvd, and latentsync's network; not disco's pixels, which are held to
    Pillow's, nor latentsync's crops.
    """

    title: ClassVar[str] = "FVD"
    variants: ClassVar[tuple[str, ...]] = tuple(FEATURES)

    @property
    def features(self) -> tuple[str, ...]:
        return (FEATURES[self.variant],)

    def distance(self, real: Tensor, fake: Tensor) -> float:
        return frechet(real, fake, biased=self.variant.startswith("cdfvd"))
