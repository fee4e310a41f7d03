"""The frames of a video one after the other."""

from collections.abc import Iterator

import numpy as np

from datamodules.video.video_file import VideoFile

AT_ONCE_BYTES = 1 << 28
"""Of decoded frames. Each stretch is decoded from the key frame before it, so that longer ones are quicker."""

NOTHING = np.zeros((0, 0, 0, 3), np.uint8)


class Shown:
    """Some frames of a video by their number among them, [H, W, 3] uint8 each: quick in order, and few in memory."""

    def __init__(self, video: VideoFile, frames: range) -> None:
        self.video = video
        self.frames = frames
        self._at_once = max(AT_ONCE_BYTES // (video.facts.height * video.facts.width * 3), 1)
        self._first, self._decoded = 0, NOTHING

    def __len__(self) -> int:
        return len(self.frames)

    def __getitem__(self, number: int, /) -> np.ndarray:
        if not self._first <= number < self._first + len(self._decoded):
            stretch = self.frames[number : number + self._at_once]
            self._decoded = NOTHING  # before the next stretch takes its room
            self._first, self._decoded = number, self.video.frames(stretch.start, stretch.stop)
        return self._decoded[number - self._first].copy()  # a view would hold the whole stretch


def in_turn(video: VideoFile, first: int, last: int) -> Iterator[np.ndarray]:
    """Frames [first, last), each [H, W, 3] uint8; memory does not grow with their number."""
    shown = Shown(video, range(first, last))
    return (shown[number] for number in range(len(shown)))
