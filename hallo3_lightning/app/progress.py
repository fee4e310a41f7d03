"""How far a film is that another process makes: seen from what it leaves on the disk."""

import io
from dataclasses import dataclass, field
from pathlib import Path

from hallo3_lightning.film.files.mp4_boxes import HEADER, boxes

PICTURE = 1
"""The number of the track that a growing film has its frames in."""

COUNT_AT = 4
"""Bytes of version and flags that come before the number of a track, and before the count of its samples in a fragment."""


@dataclass
class GrowingFrames:
    """Counts the frames of a growing mp4, each fragment once however often one looks."""

    path: Path
    _frames: int = field(default=0, init=False)
    _stop: int = field(default=0, init=False)

    def count(self) -> int:
        """In whole fragments; what it was where there is nothing to see."""
        try:
            with self.path.open("rb") as file:
                if file.seek(0, 2) < self._stop:  # cut back to where making goes on
                    self._frames = self._stop = 0
                for box in boxes(file):
                    if box.begin >= self._stop and box.name == "moof":
                        file.seek(box.begin)
                        self._frames += _frames_of(file.read(box.stop - box.begin))
                    self._stop = max(self._stop, box.stop)
        except (FileNotFoundError, ValueError):  # not begun, or in the middle of a fragment
            pass
        return self._frames


@dataclass
class Remaining:
    """Seconds to go, by how long windows took so far.

    The first is not known before a window is whole; later ones do not count the reading of weights.
    """

    begin_s: float
    begin_frames: int
    _seen: list[tuple[float, int]] = field(default_factory=list, init=False)

    def left_s(self, now_s: float, whole_frames: int, total: int) -> float | None:
        """whole_frames: of windows that are finished. None before there is one."""
        if whole_frames > max(self.begin_frames, self._seen[-1][1] if self._seen else 0):
            self._seen.append((now_s, whole_frames))
        if not self._seen:
            return None
        from_s, from_frames = self._seen[0] if len(self._seen) > 1 else (self.begin_s, self.begin_frames)
        last_s, last_frames = self._seen[-1]
        a_frame_s = (last_s - from_s) / (last_frames - from_frames)
        return max((total - last_frames) * a_frame_s - (now_s - last_s), 0.0)


def _frames_of(moof: bytes) -> int:
    """Source: ISO/IEC 14496-12, sections 8.8.6 to 8.8.8."""
    found = 0
    for track in _inside(moof, "traf"):
        head = _inside(track, "tfhd")[0][HEADER:]
        if _number(head) == PICTURE:
            found += sum(_number(run[HEADER:]) for run in _inside(track, "trun"))
    return found


def _inside(box: bytes, name: str) -> list[bytes]:
    """The boxes of that name right inside of one, with their headers."""
    content = io.BytesIO(box[HEADER:])
    return [content.getbuffer()[part.begin : part.stop].tobytes() for part in boxes(content) if part.name == name]


def _number(content: bytes) -> int:
    return int.from_bytes(content[COUNT_AT : COUNT_AT + 4])
