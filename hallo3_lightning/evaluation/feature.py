"""Feature: what is made of one clip by one network, and kept."""

from collections.abc import Iterator
from typing import ClassVar

import torch
from torch import Tensor

from hallo3_lightning.errors import unknown
from hallo3_lightning.evaluation.footage import Footage, Measured, Unscorable
from hallo3_lightning.evaluation.networks import Networks
from hallo3_lightning.find import find

VERSION = 2
"""Raised with every change that changes numbers: what is kept from before is made anew."""


class Feature:
    """A subclass is a file of `features`."""

    variants: ClassVar[tuple[str, ...]] = ()
    networks: ClassVar[tuple[str, ...]] = ()
    needs_faces: ClassVar[bool] = False
    needs_sound: ClassVar[bool] = False
    beside: ClassVar[tuple[str, ...]] = ()
    """Ends of files that a user lays beside the videos (given_file.py)."""

    def __init__(self, variant: str) -> None:
        if variant not in self.variants:
            raise unknown(f"variant of {type(self).__module__.rsplit('.', 1)[-1]}", variant, self.variants)
        self.variant = variant

    def measure(self, footage: Footage, networks: Networks) -> dict[str, Tensor]:
        """What is kept of a clip. Raises Unscorable."""
        raise NotImplementedError

    def lacks(self, networks: Networks, has_faces: bool) -> list[str]:
        """Short names of the networks without which it cannot be; [] where all is there."""
        absent = [name for name in self.networks if not networks.has(name)]
        return [*absent, *(["scrfd"] if self.needs_faces and not has_faces else [])]

    def runs(self, networks: Networks) -> tuple[str, ...]:
        """Short names of the networks that it runs, of those that are there."""
        return self.networks

    def fingerprint(self, networks: Networks, faces: str) -> str:
        """Changes with everything that its numbers depend on beside the video."""
        weights = [f"{name} {networks.fingerprint(name)}" for name in self.networks]
        return "; ".join([f"version {VERSION}", *weights, *([f"faces {faces}"] if self.needs_faces else [])])

    def seconds(self, frames: int, height: int, width: int) -> float:
        """About what it takes of one core, for the estimate that is printed."""
        return 0.001 * frames


def feature(name: str) -> Feature:
    """The feature of that id."""
    file, _, variant = name.partition("/")
    return find("evaluation.features", file)(variant)


def measured(name: str, footage: Footage, networks: Networks) -> Measured:
    """What a feature makes of a clip, or why it makes nothing of it."""
    try:
        with torch.no_grad():
            values = feature(name).measure(footage, networks)
    except Unscorable as reason:
        return Measured(status=reason.status)
    if not all(value.isfinite().all() for key, value in values.items() if key == "rows"):
        return Measured(status="features not finite")
    return Measured({key: value.detach().cpu().contiguous() for key, value in values.items()})


def batches(video: Tensor, size: int) -> Iterator[Tensor]:
    """Parts of a fixed size: another size could change the last digit."""
    yield from video.split(size)
