"""Is it the person of the reference picture?"""

from typing import ClassVar

from hallo3_lightning.evaluation.footage import Kept
from hallo3_lightning.evaluation.published_metric import ClipScore

FEATURE = "identity/arcface"


class IdentitySimilarity(ClipScore):
    """Mean over frames with a face of the cosine of ArcFace's embedding to that of the real clip's first face (CSIM)."""

    title: ClassVar[str] = "Identity similarity"
    higher_is_better = True
    needs_pair = True
    variants: ClassVar[tuple[str, ...]] = ("arcface",)

    @property
    def features(self) -> tuple[str, ...]:
        return (FEATURE,)

    def score(self, clip: Kept, real: Kept | None) -> float:
        assert real is not None
        reference = real[FEATURE]["rows"][0]
        return float((clip[FEATURE]["rows"] @ reference).mean())

    def used(self, clip: Kept) -> int:
        return len(clip[FEATURE]["numbers"])
