"""Numbers of a clip that somebody else's tools made, in a file beside its video: x.expression.npy beside x.mp4."""

from pathlib import Path

import numpy as np

EXPRESSION = ".expression.npy"
"""float [F, D], any D that all clips share: what the face does, by any tracker."""

LANDMARKS = ".landmarks.npy"
"""float [F, 68, 2] or [F, 68, 3], x and y first, in pixels of the file: the 68 points of 300-W in their order, as
face-alignment and insightface's 1k3d68 give them; NaN in frames without a face."""


class NotGiven(Exception):
    """Why there are no numbers: a short fixed phrase to count by."""


def given(video: Path, end: str, frames: int) -> np.ndarray:
    """The numbers of the first frames of a video, float64 [frames, ...]: the file's first row is of the first frame, and
    there is one for each of 25 a second. Raises NotGiven."""
    path, name = video.with_name(video.stem + end), end[1:]
    if not path.is_file():
        raise NotGiven(f"no {name} beside the video")
    try:
        numbers = np.load(path, allow_pickle=False)
    except (ValueError, EOFError, OSError) as error:
        raise NotGiven(f"{name} cannot be read") from error
    if not (isinstance(numbers, np.ndarray) and np.issubdtype(numbers.dtype, np.floating) and numbers.ndim > 1):
        raise NotGiven(f"{name} is not float [F, ...]")
    if len(numbers) < frames:
        raise NotGiven(f"{name} has fewer rows than the video has frames at 25 a second")
    return numbers[:frames].astype(np.float64)


def beside(video: Path) -> list[Path]:
    """Such files of a video."""
    return [path for end in (EXPRESSION, LANDMARKS) if (path := video.with_name(video.stem + end)).is_file()]
