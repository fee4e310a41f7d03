"""How soon the first frame of a video came, and how fast the others followed."""

import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace

from hallo3_lightning.animation.animator import Chunk
from hallo3_lightning.geometry import seconds


class Pace:
    """Looks at the clock as chunks go by.

    first_frame_s: seconds from asking for the first chunk to having it, the wait for sound included; None before.
    frames: that went by. elapsed_s: seconds until the last of them.

    Args:
        clock: seconds since some moment.
    """

    def __init__(self, clock: Callable[[], float] = time.perf_counter) -> None:
        self._clock = clock
        self.first_frame_s: float | None = None
        self.frames = 0
        self.elapsed_s = 0.0

    def watched(self, chunks: Iterable[Chunk]) -> Iterator[Chunk]:
        """The same chunks, with their frames in main memory: a GPU hands out frames that it has yet to compute."""
        begin = self._clock()
        for chunk in chunks:
            frames = chunk.frames.cpu()
            self.elapsed_s = self._clock() - begin
            self.first_frame_s = self.elapsed_s if self.first_frame_s is None else self.first_frame_s
            self.frames += frames.shape[1]
            yield replace(chunk, frames=frames)

    @property
    def real_time_factor(self) -> float:
        """Seconds that a second of video takes; below 1, speech can be followed as it is spoken."""
        return self.elapsed_s / seconds(self.frames) if self.frames else float("nan")
