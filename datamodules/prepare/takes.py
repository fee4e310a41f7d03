"""Which stretches of a video become takes."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Take:
    """Frames [first, first + frames) of a video, at 25 a second."""

    number: int
    first: int
    frames: int

    @property
    def last(self) -> int:
        """The frame behind it."""
        return self.first + self.frames


def takes(frames: int, cuts: Sequence[int], longest: int) -> Iterator[Take]:
    """The takes of a video of so many frames: none crosses a cut, none is longer than `longest` (0: no limit).

    A scene that is too long is parted evenly, so that no short rest is left over.
    """
    borders = [0, *cuts, frames]
    number = 0
    for start, end in zip(borders[:-1], borders[1:], strict=True):
        parts = math.ceil((end - start) / longest) if longest else 1
        edges = [start + (end - start) * part // parts for part in range(parts + 1)]
        for first, last in zip(edges[:-1], edges[1:], strict=True):
            yield Take(number, first, last - first)
            number += 1
