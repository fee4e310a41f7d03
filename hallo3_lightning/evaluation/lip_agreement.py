"""How the lips of a clip agree with its sound, from the distances that are kept of it."""

from typing import ClassVar

from hallo3_lightning.backbones.syncnet import SHIFTS, WINDOW, Agreement, agreement
from hallo3_lightning.evaluation.features.lips import FLOOR_SHIFT
from hallo3_lightning.evaluation.footage import Kept, Unscorable
from hallo3_lightning.evaluation.published_metric import ClipScore

FLOOR_FRAMES = FLOOR_SHIFT + SHIFTS + 1 + WINDOW
"""Of the shortest clip that has a floor."""

FEATURES = dict.fromkeys(("joonson", "padded", "valid"), "lips/syncnet") | {"joonson-coded": "lips/syncnet-coded"}
"""Of each variant. joonson: the reference, which scores only a face of more than 100 detections and 100 pixels;
joonson-coded: with frames through MPEG-4 and JPEG as often as there, which depends on FFmpeg's version; padded: the
reference's reckoning for clips of any length, of which only those of one length may be compared; valid: without the
comparisons beyond the ends of the sound, so that the length does not matter."""

VARIANTS = tuple(FEATURES)


class LipScore(ClipScore):
    """A number from the distances of lips and sound. A subclass says which (`number`)."""

    has_floor: ClassVar[bool] = True
    variants: ClassVar[tuple[str, ...]] = VARIANTS

    @property
    def features(self) -> tuple[str, ...]:
        return (FEATURES[self.variant],)

    def number(self, found: Agreement) -> float:
        """What is told of an agreement."""
        raise NotImplementedError

    def score(self, clip: Kept, real: Kept | None) -> float:
        return self.number(self._agreement(clip, "distances"))

    def floor(self, clip: Kept) -> float:
        kept = clip[self.features[0]]
        if not len(kept["floor"]):
            raise Unscorable(f"too short to hear its sound more than a second late (fewer than {FLOOR_FRAMES} frames)")
        return self.number(self._agreement(clip, "floor"))

    def used(self, clip: Kept) -> int:
        return int(clip[self.features[0]]["span"][1])

    def _agreement(self, clip: Kept, distances: str) -> Agreement:
        """Raises Unscorable for what the reference would not score, where it is asked for."""
        kept = clip[self.features[0]]
        if self.variant.startswith("joonson") and not kept["as_reference"].any():
            raise Unscorable("face too short or small for the reference (more than 100 frames, 100 pixels)")
        return agreement(kept[distances], only_sound_there=self.variant == "valid")
