"""Faces as the published preprocessing left them: nobody has to look for them again.

    VIDEOS/face_mask/x.png    white in the rectangle around the face in all frames of videos/x.mp4, black around it
    VIDEOS/face_emb/x.pt      a NumPy array: the identity in the first frame that shows a face, not normalised

Source: fudan-generative-vision/hallo3, hallo3/data_preprocess.py.
"""

import codecs
import hashlib
import pickle
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
from numpy._core.multiarray import _reconstruct
from PIL import Image, UnidentifiedImageError

from datamodules.prepare.face import Face
from datamodules.prepare.verdict import Dropped
from hallo3_lightning.errors import UsageError

MASKS, EMBEDDINGS = "face_mask", "face_emb"

UNPICKLING_ERRORS = (pickle.UnpicklingError, RuntimeError, EOFError, ValueError, LookupError, TypeError, AttributeError)
"""What comes of a pickle that is damaged, or names what it may not."""


@dataclass(frozen=True)
class PublishedFaces:
    """The faces of a folder of the published layout; the same for every frame of a video."""

    folder: Path

    @property
    def fingerprint(self) -> str:
        """Of whether there are embeddings: the files count video by video."""
        return f"published {'with' if self.knows_identities else 'without'} embeddings"

    @cached_property
    def knows_identities(self) -> bool:
        """Whether any video has an embedding."""
        return any((self.folder / EMBEDDINGS).glob("*.pt"))

    def told_of(self, video: str) -> str:
        """A digest of the bytes of the video's two files."""
        stem = PurePosixPath(video).stem
        files = self.folder / MASKS / f"{stem}.png", self.folder / EMBEDDINGS / f"{stem}.pt"
        digests = [hashlib.sha256(file.read_bytes()).hexdigest() if file.is_file() else "" for file in files]
        return " ".join(digests).strip()

    def check(self) -> None:
        """Raise UsageError where there is nothing of the kind, or identities are of several networks."""
        self._check_masks()
        known_from: dict[int, str] = {}
        for file in sorted((self.folder / EMBEDDINGS).glob("*.pt")):
            try:
                embedding = self._embedding(file.stem)
            except Dropped:  # that video is, later
                continue
            if embedding is not None:
                known_from.setdefault(len(embedding), file.name)
        if len(known_from) > 1:
            there = ", ".join(f"{size} in {name}" for size, name in known_from.items())
            raise UsageError(
                f"{self.folder / EMBEDDINGS}: identities of several sizes ({there}); take all of them from one network"
            )

    def _check_masks(self) -> None:
        if not any((self.folder / MASKS).glob("*.png")):
            raise UsageError(
                f"{self.folder / MASKS} holds no .png; --faces published takes what the published data_preprocess.py "
                "wrote beside videos/"
            )

    def faces(self, frame: np.ndarray, video: str, number: int) -> list[Face]:
        """The rectangle of the video's mask, of any size, on this frame; none without a mask, or with an empty one."""
        mask = self._mask(PurePosixPath(video).stem)
        if mask is None or not mask.any():
            return []
        columns, rows = np.flatnonzero(mask.any(axis=0)), np.flatnonzero(mask.any(axis=1))
        across, down = frame.shape[1] / mask.shape[1], frame.shape[0] / mask.shape[0]
        box = columns[0] * across, rows[0] * down, (columns[-1] + 1) * across, (rows[-1] + 1) * down
        return [Face(box, embedding=self._embedding(PurePosixPath(video).stem))]

    def embedding(self, frame: np.ndarray, face: Face) -> np.ndarray | None:
        """What the file says; None where there is none."""
        return face.embedding

    def _mask(self, stem: str) -> np.ndarray | None:
        """[H, W] bool."""
        file = self.folder / MASKS / f"{stem}.png"
        if not file.is_file():
            return None
        try:
            with Image.open(file, formats=["PNG"]) as picture:
                return np.asarray(picture.convert("L")) >= 128
        except (UnidentifiedImageError, Image.DecompressionBombError, OSError, SyntaxError) as error:
            raise Dropped("undecodable", f"{MASKS}/{file.name}") from error

    def _embedding(self, stem: str) -> np.ndarray | None:
        """[E] float32."""
        file = self.folder / EMBEDDINGS / f"{stem}.pt"
        if not file.is_file():
            return None
        embedding = np.asarray(_unpickled(file))
        if embedding.dtype.kind != "f" or embedding.ndim != 1 or not np.isfinite(embedding).all():
            raise Dropped("undecodable", f"{EMBEDDINGS}/{file.name}")
        return embedding.astype(np.float32)


def _unpickled(file: Path) -> Any:
    """The array in a pickle that may name nothing but what an array of numbers is made of."""
    import torch  # late: only the published files need it

    with torch.serialization.safe_globals(_array_parts()):
        try:
            return torch.load(file, map_location="cpu", weights_only=True)
        except UNPICKLING_ERRORS as error:
            raise Dropped("undecodable", f"{EMBEDDINGS}/{file.name}") from error


def _array_parts() -> list[Any]:
    """NumPy 1 and 2 write different names for the same function."""
    reconstruct = _reconstruct, "numpy.core.multiarray._reconstruct"
    return [
        _reconstruct,
        reconstruct,
        np.ndarray,
        np.dtype,
        np.dtypes.Float32DType,
        np.dtypes.Float64DType,
        codecs.encode,
    ]
