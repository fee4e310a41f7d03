"""How the picture moves."""

from typing import Any, ClassVar

import torch
from torch import Tensor

from hallo3_lightning.backbones.dynamic_degree import every, movement
from hallo3_lightning.evaluation.feature import Feature
from hallo3_lightning.evaluation.footage import Footage, Unscorable
from hallo3_lightning.evaluation.networks import Networks
from hallo3_lightning.geometry import FPS

LEAST_SIDE = 128
"""Pixels: in a smaller picture RAFT's coarsest level has no place to look at."""


class Flow(Feature):
    """strengths [P] of each pair of frames that is looked at, mean [1], both in pixels, and moves [1]."""

    variants: ClassVar[tuple[str, ...]] = ("raft",)
    networks: ClassVar[tuple[str, ...]] = ("raft",)

    def measure(self, footage: Footage, networks: Networks) -> dict[str, Tensor]:
        if len(footage.frames) <= every(FPS):
            raise Unscorable(f"fewer than {every(FPS) + 1} frames")
        if min(footage.frames.shape[1:3]) < LEAST_SIDE:
            raise Unscorable(f"smaller than {LEAST_SIDE} pixels")
        network: Any = networks.network("raft")
        found = movement(network, footage.tensor(networks.device), FPS)
        return {
            "strengths": torch.tensor(found.strengths, dtype=torch.float64),
            "mean": torch.tensor([found.mean], dtype=torch.float64),
            "moves": torch.tensor([float(found.moves)], dtype=torch.float64),
        }

    def seconds(self, frames: int, height: int, width: int) -> float:
        return 15 * (frames / every(FPS)) * (height * width) / (480 * 720)
