"""What the face does, as numbers of somebody else's tracker."""

from typing import ClassVar

import numpy as np
import torch
from torch import Tensor

from hallo3_lightning.evaluation.feature import Feature
from hallo3_lightning.evaluation.footage import Footage, Unscorable
from hallo3_lightning.evaluation.networks import Networks

END = ".expression.npy"
"""Beside x.mp4 lies x.expression.npy: float [F, D], any D that all clips share."""


class ExpressionFile(Feature):
    """rows [n, D] of the frames that are looked at."""

    variants: ClassVar[tuple[str, ...]] = ("given",)

    def measure(self, footage: Footage, networks: Networks) -> dict[str, Tensor]:
        assert footage.file is not None
        path = footage.file.with_name(footage.file.stem + END)
        if not path.is_file():
            raise Unscorable(f"no {END[1:]} beside the video")
        try:
            rows = np.load(path, allow_pickle=False)
        except (ValueError, EOFError) as error:
            raise Unscorable(f"{END[1:]} cannot be read") from error
        if rows.ndim != 2 or not np.issubdtype(rows.dtype, np.floating):
            raise Unscorable(f"{END[1:]} is not float [F, D]")
        return {"rows": torch.from_numpy(rows[: len(footage.frames)].astype(np.float64))}
