"""Where the faces of a frame are, as a user's faces.jsonl tells.

A line of faces.jsonl is what one frame of one video shows,

    {"video": "anna/0001.mp4", "frame": 0, "faces": [{"box": [x0, y0, x1, y1], "score": 0.98,
                                                     "landmarks": [[x, y], ...], "embedding": [...]}]}

`video` is its path under the folder of videos; `frame` counts from 0 at 25 frames a second, and is 0 where absent;
boxes and the five landmarks (eyes, nose, corners of the mouth; the left of the picture first) are in pixels of the
video as it is shown, before any resize. `score` is 1, `landmarks` and `embedding` are unknown where absent. A line
holds until the next line of its video; a video's first line holds for the frames before it too. A video without a
line has no face.
"""

import hashlib
import json
from bisect import bisect_right
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from datamodules.prepare.face import Face
from hallo3_lightning.errors import UsageError

LANDMARKS = 5


@dataclass(frozen=True)
class FacesFile:
    """The faces that a user's faces.jsonl tells of. The file is read once a process for where its lines are; a line is
    decoded when its frame is asked for."""

    path: Path

    @property
    def fingerprint(self) -> str:
        """Of whether there are embeddings: what else it tells counts video by video, so that lines may be added."""
        return f"faces.jsonl {'with' if self.knows_identities else 'without'} embeddings"

    @cached_property
    def knows_identities(self) -> bool:
        """Whether any face has an embedding."""
        faces = (face for _, _, told in self._told() for face in told["faces"])
        return any(isinstance(face, dict) and face.get("embedding") is not None for face in faces)

    def told_of(self, video: str) -> str:
        """A digest of the lines of that video, in the order of their frames."""
        return self._lines[video].digest if video in self._lines else ""

    def faces(self, frame: np.ndarray, video: str, number: int) -> list[Face]:
        """The faces that the file tells of that frame, largest first; the frame itself is not looked at."""
        if video not in self._lines:
            return []
        lines = self._lines[video]
        offset = lines.offsets[max(bisect_right(lines.frames, number) - 1, 0)]
        with self.path.open("rb") as file:
            file.seek(offset)
            told = json.loads(file.readline())
        found = [_face(face, f"{self.path}: {video}, frame {told.get('frame', 0)}") for face in told["faces"]]
        return sorted(found, key=lambda face: -face.area)

    def embedding(self, frame: np.ndarray, face: Face) -> np.ndarray | None:
        """What the file says; None where it says nothing."""
        return face.embedding

    def check(self) -> None:
        """Raise UsageError for the first line that is not as this module says."""
        assert self._lines is not None  # worked out here, so that workers need not
        width, known_from = 0, 0
        for line, _, told in self._told():
            for face in (_face(face, f"{self.path}, line {line}") for face in told["faces"]):
                size = 0 if face.embedding is None else len(face.embedding)
                if size and width and size != width:
                    raise UsageError(
                        f"{self.path}, line {line}: an embedding of {size} numbers, in line {known_from} one of {width}; "
                        "take all of them from one network"
                    )
                width, known_from = (size, line) if size and not width else (width, known_from)

    def check_videos(self, videos: Sequence[str]) -> None:
        """Raise UsageError if the file tells of none of these videos: every take would be dropped for want of a face."""
        if not any(video in self._lines for video in videos):
            names = f"it names others, such as {next(iter(self._lines))}" if self._lines else "it is empty"
            raise UsageError(
                f"{self.path} tells of none of the videos: {names}; a video's name there is its path under the folder of "
                f"videos, such as {videos[0]}"
            )

    @cached_property
    def _lines(self) -> Mapping[str, "_Lines"]:
        """Of each video."""
        found: dict[str, dict[int, int]] = {}
        digests: dict[str, dict[int, bytes]] = {}
        for line, offset, told in self._told():
            known = found.setdefault(told["video"], {})
            if told.get("frame", 0) in known:
                raise UsageError(
                    f"{self.path}, line {line}: a second line for frame {told.get('frame', 0)} of {told['video']}; "
                    "give all faces of a frame in one line"
                )
            known[told.get("frame", 0)] = offset
            said = json.dumps(told, sort_keys=True).encode()
            digests.setdefault(told["video"], {})[told.get("frame", 0)] = hashlib.blake2b(said, digest_size=16).digest()
        return {video: _lines_of(lines, digests[video]) for video, lines in found.items()}

    def _told(self) -> Iterator[tuple[int, int, dict[str, Any]]]:
        """Number, byte offset and content of each line that says something."""
        offset = 0
        with self.path.open("rb") as file:
            for line, text in enumerate(file, start=1):
                if text.strip():
                    yield line, offset, _line(text, f"{self.path}, line {line}")
                offset += len(text)


@dataclass(frozen=True)
class _Lines:
    """What a faces.jsonl tells of one video: the frames that have a line, in order, where those lines begin, and a digest
    of what they say."""

    frames: tuple[int, ...]
    offsets: tuple[int, ...]
    digest: str


def _lines_of(offsets: Mapping[int, int], digests: Mapping[int, bytes]) -> _Lines:
    frames = tuple(sorted(offsets))
    joined = b"".join(digests[frame] for frame in frames)
    return _Lines(
        frames, tuple(offsets[frame] for frame in frames), hashlib.blake2b(joined, digest_size=16).hexdigest()
    )


def _line(text: bytes, place: str) -> dict[str, Any]:
    try:
        told = json.loads(text)
    except ValueError as error:
        raise UsageError(f"{place}: not JSON ({error}); a line is one object: see `hallo3 prepare --help`") from error
    if (
        not isinstance(told, dict)
        or not isinstance(told.get("video"), str)
        or not isinstance(told.get("faces"), list)
        or type(told.get("frame", 0)) is not int  # true is an int too
        or told.get("frame", 0) < 0
    ):
        raise UsageError(
            f'{place}: expected {{"video": "path.mp4", "frame": 0, "faces": [{{"box": [x0, y0, x1, y1]}}]}}, '
            f"got {text[:80].decode(errors='replace').strip()}"
        )
    return told


def _face(told: Any, place: str) -> Face:
    if not isinstance(told, dict) or "box" not in told:
        raise UsageError(f'{place}: a face is an object with a "box", got {str(told)[:60]}')
    box = _numbers(told["box"], (4,), "box", place)
    if box[0] >= box[2] or box[1] >= box[3]:
        raise UsageError(f"{place}: box {told['box']} is empty; it is [x0, y0, x1, y1] with x0 < x1 and y0 < y1")
    landmarks, embedding = told.get("landmarks"), told.get("embedding")
    return Face(
        box=(float(box[0]), float(box[1]), float(box[2]), float(box[3])),
        score=float(_numbers(told.get("score", 1.0), (), "score", place)),
        landmarks=None if landmarks is None else _numbers(landmarks, (LANDMARKS, 2), "landmarks", place),
        embedding=None if embedding is None else _numbers(embedding, (None,), "embedding", place).astype(np.float32),
    )


def _numbers(told: Any, shape: tuple[int | None, ...], what: str, place: str) -> np.ndarray:
    """Finite numbers of that shape (None: any size but 0)."""
    try:
        numbers = np.asarray(told, dtype=np.float64)
    except (ValueError, TypeError):
        numbers = np.asarray(np.nan)
    fits = len(numbers.shape) == len(shape) and all(
        size == wanted or (wanted is None and size > 0) for size, wanted in zip(numbers.shape, shape, strict=True)
    )
    if not fits or not np.isfinite(numbers).all():
        sizes = " x ".join("n" if size is None else str(size) for size in shape) or "one"
        raise UsageError(f"{place}: {what} must be {sizes} finite number(s), got {str(told)[:60]}")
    return numbers
