"""How a window is sampled."""

from collections.abc import Mapping
from dataclasses import dataclass

from hallo3_lightning.conditioning.dropout import FIELDS, GROUPS
from hallo3_lightning.diffusion.sampler import sampler
from hallo3_lightning.diffusion.schedule import Oddities, check_steps
from hallo3_lightning.errors import UsageError, unknown


@dataclass(frozen=True)
class Sampling:
    """How a window is sampled.

    Args:
        sampler: a name in diffusion/sampler.py.
        steps: sampling steps a window.
        guidance: scale s of u + s (c - u); 1 runs no unconditional branch. Or a scale for each of text, audio, identity
            (or face, reference, motion): {text: 2, audio: 4} is u + 2 (t - u) + 4 (ta - t), where u lacks both and t has
            the text alone, whatever order they are named in; see animation/guidance.py.
        guided: conditions that the unconditional branch lacks where there is one scale; all others are the same in both
            branches.
        blend_frames: how many new frames of a window are drawn towards the last frame seen before it, so that its beginning
            is not seen; 0 as published. See animation/blending.py.
        oddities: where the published sampler departs from its own equations.
    """

    sampler: str = "ddim"
    steps: int = 50
    guidance: float | dict[str, float] = 3.5
    guided: tuple[str, ...] = ("text", "audio")
    blend_frames: int = 0
    oddities: Oddities = Oddities()

    @property
    def scales(self) -> dict[str, float]:
        """Of each condition, or group of them, that is guided."""
        if isinstance(self.guidance, Mapping):
            return dict(self.guidance)
        return dict.fromkeys(self.guided, self.guidance)

    def __post_init__(self) -> None:
        """Raise UsageError for names that do not exist and numbers that mean nothing."""
        sampler(self.sampler)
        check_steps(self.steps)
        if self.blend_frames < 0:
            raise UsageError(f"blend_frames is {self.blend_frames}; give 0 for none, or a few such as 2")
        for condition in self.guided:
            if condition not in FIELDS:
                raise unknown("condition", condition, FIELDS, "model.sampling.guided")
        _check_scales(self.guidance if isinstance(self.guidance, Mapping) else {})
        if not isinstance(self.guidance, Mapping):
            _check_scale("guidance", self.guidance)


MAX_SCALE = 100
"""Of guidance, either way: far above what shows anything, far below where numbers overflow."""


def _check_scale(what: str, scale: float) -> None:
    if not -MAX_SCALE <= scale <= MAX_SCALE:  # what is no number is not between them either
        raise UsageError(
            f"{what} is {scale}; give a scale such as 3.5, from {-MAX_SCALE} to {MAX_SCALE}, or 1 for none"
        )


def _check_scales(scales: Mapping[str, float]) -> None:
    named: set[str] = set()
    for condition, scale in scales.items():
        if condition not in GROUPS:
            raise unknown("condition", condition, GROUPS, "model.sampling.guidance")
        again = named & set(GROUPS[condition])
        if again:
            raise UsageError(
                f"model.sampling.guidance gives {', '.join(sorted(again))} two scales; identity is face and reference together"
            )
        named |= set(GROUPS[condition])
        _check_scale(f"guidance by {condition}", scale)
