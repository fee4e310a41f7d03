"""Ways to sample faster that change what is sampled."""

from dataclasses import asdict, dataclass

from hallo3_lightning.errors import UsageError


@dataclass(frozen=True)
class Shortcuts:
    """All are off unless asked for, and belong into the provenance of what was made with them.

    Args:
        reuse: how much what the first block adds may change (summed relative changes over steps) before the other blocks
            are computed again; 0 computes them in every step.
        unguided: share of the diffusion steps, the cleanest, in which the conditional branch runs alone; 0 guides all.
            Source: guidance in a limited interval, arXiv 2404.07724.
    """

    reuse: float = 0.0
    unguided: float = 0.0

    def __post_init__(self) -> None:
        """Raise UsageError for numbers that mean nothing."""
        if not 0 <= self.reuse < float("inf"):
            raise UsageError(f"reuse is {self.reuse}; give a relative change such as 0.1, or 0 to compute every block")
        if not 0 <= self.unguided <= 1:
            raise UsageError(f"unguided is {self.unguided}; give a share of the steps from 0 (guide all) to 1 (none)")

    @property
    def taken(self) -> dict[str, float]:
        """Those that are on, by name; nothing where the sampling is exact."""
        return {name: value for name, value in asdict(self).items() if value}


EXACT = Shortcuts()
"""None."""
