"""Faces and five landmarks of a picture: SCRFD (Guo et al., arXiv 2105.04714) from insightface's ONNX file.

Numbers and conventions are those of insightface's python package (model_zoo/scrfd.py, model_zoo/retinaface.py).
"""

from dataclasses import dataclass

import numpy as np
from einops import rearrange, repeat

from hallo3_lightning.backbones.onnx_file import OnnxFile
from hallo3_lightning.backbones.resample import resized
from hallo3_lightning.backbones.suppression import apart
from hallo3_lightning.errors import UsageError

STRIDES = (8, 16, 32)
"""Pixels between the anchors of each of the three levels."""

ANCHORS = 2
"""At each place of a level."""

WIDTHS = {"scores": 1, "boxes": 4, "landmarks": 10}
"""Numbers an anchor has in each of the outputs; the file gives all levels of the first, then of the second, ..."""

BORDER = 1
"""Pixels by which a box is wider and higher than its corners are apart, where overlaps are measured."""


@dataclass(frozen=True, eq=False)
class Detections:
    """N faces, the surest first."""

    boxes: np.ndarray
    """[N, 4] x0, y0, x1, y1 in pixels; may reach beyond the picture."""
    scores: np.ndarray
    """[N] in 0..1."""
    landmarks: np.ndarray
    """[N, 5, 2] x, y: eyes, nose, corners of the mouth, the left of the picture first."""

    def __getitem__(self, which: np.ndarray) -> "Detections":
        return Detections(self.boxes[which], self.scores[which], self.landmarks[which])


@dataclass(frozen=True)
class FaceDetector:
    """Finds faces. The defaults are those of insightface's FaceAnalysis, which the published preparation uses."""

    file: OnnxFile
    size: int = 640
    """Side of the square that a picture is fitted into; a file with a size of its own overrules it."""
    least_score: float = 0.5
    most_overlap: float = 0.4
    """Of two boxes that overlap more (intersection over union) the surer is kept."""

    def check(self) -> None:
        """Raise UsageError where the file is no such detector."""
        there, wanted = self.file.signature(), len(STRIDES) * len(WIDTHS)
        if len(there.outputs) != wanted or len(there.input_shape) != 4:
            raise UsageError(
                f"{self.file.path} is no SCRFD detector with landmarks: it has {len(there.outputs)} outputs, expected "
                f"{wanted}; see `hallo3 doctor` for the file meant"
            )

    def detect(self, picture: np.ndarray) -> Detections:
        """The faces of a picture [H, W, 3] uint8 RGB."""
        square, scale = self._square(picture)
        raw = self.file.run(rearrange((square - 127.5) / 128, "h w c -> 1 c h w").astype(np.float32))
        found = _joined([self._level(raw, level, square.shape[:2], scale) for level in range(len(STRIDES))])
        surest = found[np.argsort(-found.scores, kind="stable")]
        return surest[apart(surest.boxes, self.most_overlap, BORDER)]

    def _square(self, picture: np.ndarray) -> tuple[np.ndarray, float]:
        """The picture in the upper left corner of what the network sees, black around it, and how much it was scaled."""
        height, width = (side if isinstance(side, int) else self.size for side in self.file.input_shape[2:])
        ratio = len(picture) / picture.shape[1]
        high, wide = (height, int(height / ratio)) if ratio > height / width else (int(width * ratio), width)
        small = resized(picture, max(high, 1), max(wide, 1))
        square = np.zeros((height, width, 3), np.float32)
        square[: len(small), : small.shape[1]] = small
        return square, len(small) / len(picture)

    def _level(self, raw: list[np.ndarray], level: int, shape: tuple[int, ...], scale: float) -> Detections:
        """What one level found, in pixels of the picture."""
        stride = STRIDES[level]
        places = _anchors(shape[0] // stride, shape[1] // stride) * stride
        scores, boxes, landmarks = (
            self._output(raw[len(STRIDES) * kind + level], len(places), width)
            for kind, width in enumerate(WIDTHS.values())
        )
        sure = scores[:, 0] >= self.least_score
        centre, reach, spread = places[sure], boxes[sure] * stride, landmarks[sure] * stride
        corners = np.concatenate([centre - reach[:, :2], centre + reach[:, 2:]], axis=1)
        points = rearrange(centre, "n xy -> n 1 xy") + rearrange(spread, "n (point xy) -> n point xy", xy=2)
        return Detections(corners / scale, scores[sure, 0], points / scale)

    def _output(self, raw: np.ndarray, anchors: int, width: int) -> np.ndarray:
        """One output as [anchors, width]: some files have a leading batch axis of 1."""
        if raw.size != anchors * width or raw.shape[-1] != width:
            raise UsageError(
                f"{self.file.path} gives {list(raw.shape)} where a SCRFD detector gives {[anchors, width]}; "
                "see `hallo3 doctor` for the file meant"
            )
        return raw.reshape(anchors, width).astype(np.float64)


def _anchors(height: int, width: int) -> np.ndarray:
    """Places [height * width * ANCHORS, 2] (x, y), in strides."""
    y, x = np.mgrid[:height, :width]
    return repeat(np.stack([x, y], axis=-1), "h w xy -> (h w anchors) xy", anchors=ANCHORS).astype(np.float64)


def _joined(levels: list[Detections]) -> Detections:
    return Detections(
        np.concatenate([level.boxes for level in levels]),
        np.concatenate([level.scores for level in levels]),
        np.concatenate([level.landmarks for level in levels]),
    )
