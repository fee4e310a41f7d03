"""Where the parts of a network stand while it animates, and in which precision they compute."""

from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any

import torch

from hallo3_lightning.animation.residency import Residency
from hallo3_lightning.denoiser import Denoiser
from hallo3_lightning.errors import UsageError
from hallo3_lightning.model.frozen import FrozenEncoders

PRECISIONS = ("32", "bf16-mixed", "bf16")
"""32: all in float32; bf16-mixed: products in bfloat16, weights in float32; bf16: the denoiser's weights too."""

OF_TRAINER = {"bf16-mixed": "bf16-mixed", "16-mixed": "bf16-mixed", "bf16-true": "bf16", "16-true": "bf16"}
"""A trainer's `precision` -> ours; float32 for all others."""


@dataclass(frozen=True)
class Placement:
    """device: as torch names it; precision: of PRECISIONS; offloaded: parts of `residency.PARTS`; tiled: see Animator."""

    device: str
    precision: str
    offloaded: tuple[str, ...] = ()
    tiled: bool = False

    @property
    def on_gpu(self) -> bool:
        return torch.device(self.device).type == "cuda"

    @property
    def residency(self) -> Residency:
        return Residency(self.offloaded, self.device)

    @property
    def dtype(self) -> torch.dtype:
        """Of the denoiser's weights."""
        return torch.bfloat16 if self.precision == "bf16" else torch.float32

    def cast(self) -> AbstractContextManager[Any]:
        """What computes in bfloat16 does so in this context."""
        if self.precision == "32":
            return nullcontext()
        return torch.autocast(torch.device(self.device).type, torch.bfloat16)

    def put(self, denoiser: Denoiser, encoders: FrozenEncoders) -> None:
        """Bring to the device what is not offloaded."""
        for name in ("text", "audio", "video"):
            if name not in self.offloaded:
                getattr(encoders, name).to(self.device)
        if "denoiser" not in self.offloaded:
            denoiser.to(self.device)


def device_of(told: str | None) -> str:
    """The device that --device names, by default a GPU if there is one. Raises UsageError where it is not there."""
    if told is None:
        return "cuda" if torch.cuda.is_available() else "cpu"
    gpus = [f"cuda:{number}" for number in range(torch.cuda.device_count())]
    there = ["cpu", *(["cuda"] if gpus else []), *gpus]
    if told not in there:
        raise UsageError(f"--device is {told}, which this machine does not have; expected {' or '.join(there)}")
    return told


def precision_of(told: str | None, trained: str) -> str:
    """The precision that --precision names, by default that of training."""
    if told is not None and told not in PRECISIONS:
        raise UsageError(f"--precision is {told}; expected one of {', '.join(PRECISIONS)}")
    return told or OF_TRAINER.get(trained, "32")
