"""How a window is sampled."""

from dataclasses import dataclass

from hallo3_lightning.diffusion.schedule import Oddities


@dataclass(frozen=True)
class Sampling:
    """How a window is sampled.

    Args:
        sampler: a name in diffusion/sampler.py.
        steps: sampling steps a window.
        guidance: scale s of u + s (c - u); 1 runs no unconditional branch.
        guided: conditions that the unconditional branch lacks; all others are the same in both branches.
        oddities: where the published sampler departs from its own equations.
    """

    sampler: str = "ddim"
    steps: int = 50
    guidance: float = 3.5
    guided: tuple[str, ...] = ("text", "audio")
    oddities: Oddities = Oddities()
