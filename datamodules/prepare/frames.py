"""The frames of a video one after the other."""

from collections.abc import Iterator

import numpy as np

from datamodules.video_file import VideoFile

AT_ONCE_BYTES = 1 << 28
"""Of decoded frames. Each stretch is decoded from the key frame before it, so that longer ones are quicker."""


def in_turn(video: VideoFile, first: int, last: int) -> Iterator[np.ndarray]:
    """Frames [first, last), each [H, W, 3] uint8; memory does not grow with their number."""
    at_once = max(AT_ONCE_BYTES // (video.facts.height * video.facts.width * 3), 1)
    for start in range(first, last, at_once):
        yield from video.frames(start, min(start + at_once, last))
