"""How the lips of a clip agree with its sound, from the distances that are kept of it."""

from hallo3_lightning.backbones.syncnet import Agreement, agreement
from hallo3_lightning.evaluation.footage import Kept, Unscorable
from hallo3_lightning.evaluation.published_metric import ClipScore

FEATURE = "lips/syncnet"

VARIANTS = ("joonson", "padded", "valid")
"""joonson: the reference, which scores only a face of more than 100 detections and 100 pixels; padded: its reckoning for
clips of any length, of which only those of one length may be compared; valid: without the comparisons beyond the ends
of the sound, so that the length does not matter."""


class LipScore(ClipScore):
    """A number from the distances of lips and sound."""

    @property
    def features(self) -> tuple[str, ...]:
        return (FEATURE,)

    def used(self, clip: Kept) -> int:
        return int(clip[FEATURE]["span"][1])


def agreement_of(clip: Kept, variant: str) -> Agreement:
    """Raises Unscorable for what the reference would not score, where it is asked for."""
    kept = clip[FEATURE]
    if variant == "joonson" and not kept["as_reference"].any():
        raise Unscorable("face too short or small for the reference (more than 100 frames, 100 pixels)")
    return agreement(kept["distances"], only_sound_there=variant == "valid")
