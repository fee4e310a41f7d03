"""The generation passes that cover a video."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Window:
    """One generation pass: frames [start, start + clip) of the video, of which [start + kept_from, stop) are new."""

    index: int
    start: int
    kept_from: int
    stop: int


def windows(total_frames: int, clip_frames: int, motion_frames: int) -> list[Window]:
    """The passes that cover a video; each but the first begins with the motion frames of the one before it."""
    stride = clip_frames - motion_frames
    found = [Window(0, 0, 0, min(clip_frames, total_frames))]
    while found[-1].stop < total_frames:
        start = found[-1].start + stride
        found.append(Window(len(found), start, motion_frames, min(start + clip_frames, total_frames)))
    return found
