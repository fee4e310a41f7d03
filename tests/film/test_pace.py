"""What the clock says of frames that come."""

from collections.abc import Iterator

import pytest
import torch
from torch import Tensor

from hallo3_lightning.animation.animator import Chunk
from hallo3_lightning.animation.windows import Window
from hallo3_lightning.film.pace import Pace


class Clock:
    """Goes on when it is told to."""

    now = 100.0

    def __call__(self) -> float:
        return self.now


def chunks(clock: Clock, frames: Tensor, waits_s: list[float]) -> Iterator[Chunk]:
    for index, wait_s in enumerate(waits_s):
        clock.now += wait_s
        yield Chunk(frames, Window(index, 0, 0, frames.shape[1]), True, None)


def test_the_first_frame_is_that_of_the_first_chunk_and_the_factor_is_of_the_whole():
    clock, frames = Clock(), torch.zeros(1, 5, 3, 4, 6)
    pace = Pace(clock)
    assert pace.first_frame_s is None
    for _ in pace.watched(chunks(clock, frames, [3.0, 1.0, 0.5])):
        clock.now += 0.25  # it is written before the next is asked for
    assert (pace.first_frame_s, pace.frames, pace.elapsed_s) == (3.0, 15, 5.0)
    assert pace.real_time_factor == pytest.approx(5.0 / (15 / 25))


def test_of_nothing_there_is_no_pace():
    pace = Pace()
    assert list(pace.watched([])) == []
    assert pace.first_frame_s is None
    assert pace.real_time_factor != pace.real_time_factor


def test_frames_are_there_when_they_are_in_main_memory():
    clock = Clock()

    class Elsewhere(Tensor):
        """As on a GPU, whose frames one waits for when one copies them."""

        def cpu(self) -> Tensor:
            clock.now += 2.0
            return self.as_subclass(Tensor)

    pace = Pace(clock)
    (chunk,) = pace.watched(chunks(clock, torch.zeros(1, 5, 3, 4, 6).as_subclass(Elsewhere), [1.0]))
    assert type(chunk.frames) is Tensor
    assert (pace.first_frame_s, pace.elapsed_s) == (3.0, 3.0)
