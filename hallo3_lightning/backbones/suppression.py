"""Of boxes that show the same thing, the surest."""

import numpy as np


def apart(boxes: np.ndarray, most_overlap: float, border: float = 0) -> np.ndarray:
    """Which of the boxes [N, 4] (x0, y0, x1, y1), the surest first, remain when each takes away those that it overlaps
    more than that (intersection over union). border: by which a box is wider and higher than its corners are apart."""
    kept: list[int] = []
    left = np.arange(len(boxes))
    while len(left):
        first, left = left[0], left[1:]
        kept.append(first)
        left = left[_overlap(boxes[first], boxes[left], border) <= most_overlap]
    return np.asarray(kept, dtype=np.int64)


def _overlap(box: np.ndarray, others: np.ndarray, border: float) -> np.ndarray:
    """Intersection over union of a box [4] with others [N, 4] -> [N]."""
    sides = np.minimum(box[2:], others[:, 2:]) - np.maximum(box[:2], others[:, :2]) + border
    shared = np.prod(np.maximum(sides, 0), axis=1)
    area, areas = np.prod(box[2:] - box[:2] + border), np.prod(others[:, 2:] - others[:, :2] + border, axis=1)
    return shared / (area + areas - shared)
