"""Who a face is: ArcFace (Deng et al., arXiv 1801.07698) from insightface's ONNX file, of an aligned crop."""

from dataclasses import dataclass

import numpy as np
from einops import rearrange

from hallo3_lightning.backbones.onnx_file import OnnxFile
from hallo3_lightning.backbones.resample import warped
from hallo3_lightning.errors import UsageError

CROP = 112
"""Pixels a side of the aligned face."""

TEMPLATE = np.array(
    [[38.2946, 51.6963], [73.5318, 51.5014], [56.0252, 71.7366], [41.5493, 92.3655], [70.7299, 92.2041]]
)
"""Where eyes, nose and corners of the mouth [5, 2] (x, y) lie in the crop (insightface, utils/face_align.py)."""


def similarity(points: np.ndarray, onto: np.ndarray) -> np.ndarray:
    """The turn, scale and shift [2, 3] that bring points [N, 2] onto others [N, 2] with the least squared error.

    With points as complex numbers it is w = a z + b, and a is a regression; a mirror image is never chosen.
    """
    z, w = (side[:, 0] + 1j * side[:, 1] for side in (np.asarray(points, float), np.asarray(onto, float)))
    centred = z - z.mean()
    spread = (abs(centred) ** 2).sum()
    if spread == 0:
        raise ValueError("all landmarks lie on one point; no similarity can be found")
    a = (centred.conj() * (w - w.mean())).sum() / spread
    b = w.mean() - a * z.mean()
    return np.array([[a.real, -a.imag, b.real], [a.imag, a.real, b.imag]])


def aligned(picture: np.ndarray, landmarks: np.ndarray) -> np.ndarray:
    """The face [112, 112, 3] float32 in levels 0..255 of a picture [H, W, 3] uint8, upright and of the usual size."""
    return warped(picture, similarity(landmarks, TEMPLATE), CROP)


@dataclass(frozen=True)
class FaceEmbedder:
    """Says who a face is."""

    file: OnnxFile

    def check(self) -> None:
        """Raise UsageError where the file is no such network."""
        there, wanted = self.file.signature(), (3, CROP, CROP)
        if there.input_shape[1:] != wanted or len(there.outputs) != 1:
            raise UsageError(
                f"{self.file.path} is no ArcFace network: it takes {there.input_shape[1:]} and gives "
                f"{len(there.outputs)} outputs, expected {wanted} and one; see `hallo3 doctor` for the file meant"
            )

    def embedding(self, picture: np.ndarray, landmarks: np.ndarray) -> np.ndarray:
        """The identity [E] float32, not normalised, of the face of a picture [H, W, 3] uint8 RGB with those landmarks."""
        face = rearrange((aligned(picture, landmarks) - 127.5) / 127.5, "h w c -> 1 c h w")
        return rearrange(self.file.run(face.astype(np.float32))[0], "1 e -> e")
