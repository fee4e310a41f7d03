"""What the face does, as numbers of somebody else's tracker."""

from typing import ClassVar

import torch
from torch import Tensor

from hallo3_lightning.evaluation.feature import Feature
from hallo3_lightning.evaluation.footage import Footage, Unscorable
from hallo3_lightning.evaluation.given_file import EXPRESSION, NotGiven, given
from hallo3_lightning.evaluation.networks import Networks


class ExpressionFile(Feature):
    """rows [F, D] of the frames that are looked at."""

    variants: ClassVar[tuple[str, ...]] = ("given",)
    beside: ClassVar[tuple[str, ...]] = (EXPRESSION,)

    def measure(self, footage: Footage, networks: Networks) -> dict[str, Tensor]:
        assert footage.file is not None
        try:
            rows = given(footage.file, EXPRESSION, len(footage.frames))
        except NotGiven as reason:
            raise Unscorable(str(reason)) from reason
        if rows.ndim != 2:
            raise Unscorable(f"{EXPRESSION[1:]} is not float [F, D]")
        return {"rows": torch.from_numpy(rows)}
