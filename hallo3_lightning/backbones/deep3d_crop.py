"""A face as R-Net is shown it: of one size and place, by five landmarks and five points of the face model.

The rules are those of util/preprocess.py in github.com/sicxu/Deep3DFaceRecon_pytorch. The model's points are not here,
its terms do not let them: they are those of BFM/similarity_Lm3D_all.mat, eyes, nose and corners of the mouth.
"""

import numpy as np
from PIL import Image

from hallo3_lightning.backbones.deep3d import SIZE

SCALE = 102.0
"""Pixels of the crop in one unit of the model."""


def aligned(picture: np.ndarray, landmarks: np.ndarray, standard: np.ndarray) -> np.ndarray:
    """The face [224, 224, 3] uint8 of a picture [H, W, 3] uint8 RGB, not turned; black lies around the picture.

    landmarks [5, 2] (x, y) in its pixels; standard [5, 3] the model's points, y up, in the same order.
    """
    height, width = picture.shape[:2]
    upwards = np.asarray(landmarks, float) * (1, -1) + (0, height - 1)
    (x, y), pixels = _projection(upwards, np.asarray(standard, float))
    scale = SCALE / pixels
    wide, tall = int(width * scale), int(height * scale)
    left = int(wide / 2 - SIZE / 2 + (x - width / 2) * scale)
    top = int(tall / 2 - SIZE / 2 + (height / 2 - y) * scale)
    resized = Image.fromarray(picture).resize((wide, tall), Image.Resampling.BICUBIC)
    return np.asarray(resized.crop((left, top, left + SIZE, top + SIZE)))


def _projection(points: np.ndarray, standard: np.ndarray) -> tuple[np.ndarray, float]:
    """Where the model's origin lies [2], and how many pixels its unit has, when it is put onto points [N, 2].

    Each coordinate is a linear function of the model's three, found with the least squared error; the unit is the mean
    length of both.
    """
    if np.linalg.matrix_rank(points - points.mean(axis=0)) < 2:
        raise ValueError("all landmarks lie on one line; no scale can be found")
    with_origin = np.concatenate([standard, np.ones((len(standard), 1))], axis=1)
    found = np.linalg.lstsq(with_origin, points, rcond=None)[0]
    return found[3], float(np.linalg.norm(found[:3], axis=0).mean())
