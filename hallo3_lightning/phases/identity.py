"""Phase 1: the backbone and the identity conditioners learn to show the person of the reference."""

from typing import Any

from hallo3_lightning.training.phase import Phase


class IdentityPhase(Phase):
    """Trains without audio. What trains is `trainable`; everything, unless told otherwise."""

    def __init__(self, **settings: Any) -> None:
        super().__init__(audio="none", **settings)
