"""What a clip's scores may depend on: pose, light, background, length, known of procedural clips."""

from collections.abc import Sequence
from typing import ClassVar

import torch
from einops import rearrange
from torch import Tensor

from hallo3_lightning.batch import Batch
from hallo3_lightning.evaluation.clip_metric import ClipMetric, frames, truth
from hallo3_lightning.evaluation.protocol import has
from hallo3_lightning.geometry import FPS


class Yaw(ClipMetric):
    """How far the head is turned from the camera: mean |yaw| of the true clip."""

    unit: ClassVar[str] = "degrees"
    needs: ClassVar[tuple[str, ...]] = ("video", "truth.yaw")

    def measure(self, video: Tensor, batch: Batch, given: int, borders: Sequence[int]) -> Tensor:
        return rearrange(torch.rad2deg(truth(batch, "yaw").abs()).mean(dim=1), "b -> b 1")


class Light(ClipMetric):
    """How far from the side the light comes: mean angle between lamp and camera, seen from the head."""

    unit: ClassVar[str] = "degrees"
    needs: ClassVar[tuple[str, ...]] = ("video", "truth.light_direction")

    def measure(self, video: Tensor, batch: Batch, given: int, borders: Sequence[int]) -> Tensor:
        towards_camera = truth(batch, "light_direction")[..., 2].clamp(-1, 1)
        return rearrange(torch.rad2deg(towards_camera.acos()).mean(dim=1), "b -> b 1")


class Background(ClipMetric):
    """How fast the background moves."""

    unit: ClassVar[str] = "radians/s"
    needs: ClassVar[tuple[str, ...]] = ("video", "truth.background_motion")

    def measure(self, video: Tensor, batch: Batch, given: int, borders: Sequence[int]) -> Tensor:
        return rearrange(truth(batch, "background_motion").abs().mean(dim=1), "b -> b 1")


class Length(ClipMetric):
    """How long it is."""

    unit: ClassVar[str] = "seconds"

    def measure(self, video: Tensor, batch: Batch, given: int, borders: Sequence[int]) -> Tensor:
        return torch.full((len(batch), 1), video.shape[1] / FPS, device=video.device)


CONDITIONS: dict[str, type[ClipMetric]] = {"yaw": Yaw, "light": Light, "background": Background, "length": Length}
"""By the name that rows and tables use."""


class Conditions:
    """The conditions of the clips of a test, as far as the data say them."""

    def __init__(self, batch: Batch, device: torch.device) -> None:
        known = {name: kind for name, kind in CONDITIONS.items() if all(has(batch, need) for need in kind.needs)}
        self.metrics = {name: kind().to(device) for name, kind in known.items()}

    def update(self, batch: Batch) -> None:
        for metric in self.metrics.values():
            metric.update(frames(batch), batch, given=0)

    def rows(self) -> dict[str, dict[str, float]]:
        """Condition -> clip -> value, over all ranks."""
        return {name: metric.rows() for name, metric in self.metrics.items()}
