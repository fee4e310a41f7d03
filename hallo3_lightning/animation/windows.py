"""The generation passes that cover a video."""

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Literal

from hallo3_lightning.errors import UsageError

Loop = Literal["exact", "published"]
"""How windows follow each other; in both, each begins with the motion frames of the one before it.

exact: the first window's first frame is the video's, and the windows end with the sound.
published: the first window too begins with motion frames, which nobody sees; and there are as many windows as for sound
filled up to a multiple of the clip's length, so that up to two are sampled in vain.
"""

There = Callable[[int, int], int]
"""(first frame of a window, frame behind its last) -> how many frames of sound there are before the latter.

It waits until they have come; fewer mean that the sound ends with them.
"""


@dataclass(frozen=True)
class Window:
    """One generation pass: frames [start, start + clip) of the video, of which [start + kept_from, stop) are new.

    In vain, there are none: `stop` is the end of the sound, before them.
    """

    index: int
    start: int
    kept_from: int
    stop: int


def windows(total_frames: int, clip_frames: int, motion_frames: int, loop: Loop = "exact") -> list[Window]:
    """The passes that cover a video."""
    return list(windows_as_heard(lambda _, stop: min(stop, total_frames), clip_frames, motion_frames, loop))


def windows_as_heard(
    there: There, clip_frames: int, motion_frames: int, loop: Loop = "exact", first: int = 0
) -> Iterator[Window]:
    """The passes from window `first` on, each when its sound is there, until the sound ends."""
    index = first
    while True:
        window = _uncut(index, clip_frames, motion_frames, loop)
        frames = there(window.start, window.stop)
        if not _has_to_be(window, frames, clip_frames, loop):
            return
        yield replace(window, stop=min(window.stop, frames))
        index += 1


def check_motion_frames(motion_frames: int, trained: int, clip_frames: int) -> None:
    """Raise UsageError where windows of so many frames cannot carry so many over, or the weights never learned to."""
    if not 0 <= motion_frames < clip_frames:
        raise UsageError(
            f"{motion_frames} motion frames (--motion-frames, model.motion_frames), but a window has {clip_frames} frames and "
            f"must bring new ones; give 0 to {clip_frames - 1}"
        )
    if motion_frames != trained:
        raise UsageError(
            f"{motion_frames} motion frames, but these weights were trained with {trained} and have seen nothing else; give "
            f"{trained}, or train with --model.motion_frames {motion_frames}"
        )


def check_blend_frames(blend_frames: int, motion_frames: int, clip_frames: int) -> None:
    """Raise UsageError where a window does not bring so many new frames to blend over."""
    new = clip_frames - motion_frames
    if blend_frames > new:
        raise UsageError(
            f"{blend_frames} frames to blend over (--blend-frames, model.sampling.blend_frames), but a window brings {new} "
            f"new ones; give 0 to {new}"
        )


def _uncut(index: int, clip_frames: int, motion_frames: int, loop: Loop) -> Window:
    """A window as if the sound went on."""
    start = index * (clip_frames - motion_frames)
    if loop == "published":
        start -= motion_frames
        return Window(index, start, motion_frames, start + clip_frames)
    return Window(index, start, motion_frames if index else 0, start + clip_frames)


def _has_to_be(window: Window, frames: int, clip_frames: int, loop: Loop) -> bool:
    """Whether a window is sampled where there are so many frames of sound before its end."""
    if loop == "published":
        frames = math.ceil(frames / clip_frames) * clip_frames
    return window.start + window.kept_from < frames
