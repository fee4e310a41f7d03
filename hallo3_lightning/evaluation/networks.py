"""Which networks an evaluation has: published weights of a folder, or invented ones of a seed."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache, lru_cache
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from einops import rearrange
from torch import nn

from datamodules.prepare.faces import Face, FaceFinder, FacesFile, FoundFaces
from hallo3_lightning.backbones import published
from hallo3_lightning.backbones.arcface import CROP, TEMPLATE, FaceEmbedder, aligned
from hallo3_lightning.backbones.face_points import five_points
from hallo3_lightning.backbones.iresnet import IResNet
from hallo3_lightning.backbones.onnx_file import OnnxFile
from hallo3_lightning.backbones.scrfd import FaceDetector
from hallo3_lightning.backbones.weight_files import ARCFACE, FACE_POINTS, SCRFD, WeightFile, sha256_of

FILES: Mapping[str, WeightFile] = {
    **{name: network.file for name, network in published.NETWORKS.items()},
    "scrfd": SCRFD,
    "arcface": ARCFACE,
    "face_points": FACE_POINTS,
}
"""The weight file of each network, by its short name."""

FACES = "faces.jsonl"
"""In a folder of videos: where their faces are (datamodules/prepare/faces.py says what is in it)."""

MODEL_POINTS = ((-0.31, 0.29, 0.55), (0.31, 0.29, 0.55), (0.0, 0.0, 0.95), (-0.26, -0.35, 0.63), (0.26, -0.35, 0.63))
"""Eyes, nose and corners of the mouth of no model in particular: only beside invented weights."""


class Embedder(Protocol):
    """Says who a face is."""

    def embedding(self, picture: np.ndarray, landmarks: np.ndarray) -> np.ndarray: ...


@dataclass(frozen=True)
class Networks:
    """What is there; travels to worker processes, in which each network is read once."""

    folder: Path | None = None
    seed: int | None = None
    """Of invented weights, which then take the place of all files."""
    device: str = "cpu"

    @property
    def invented(self) -> bool:
        """Whether nothing that they give is a score."""
        return self.seed is not None

    def has(self, name: str) -> bool:
        """Whether a network can be run."""
        return self.invented or FILES[name].find(self.folder) is not None

    def fingerprint(self, name: str) -> str:
        """Changes with the weights."""
        if self.invented:
            return f"invented {self.seed}"
        path = FILES[name].find(self.folder)
        return "absent" if path is None else sha256_of(path)

    def network(self, name: str) -> nn.Module:
        """A network of `published.NETWORKS`, on the device, ready to evaluate with."""
        return _network(name, self.folder, self.seed, self.device)

    def embedder(self) -> Embedder:
        """ArcFace."""
        if self.seed is not None:
            return _invented_embedder(self.seed)
        embedder = FaceEmbedder(OnnxFile(ARCFACE.required(self.folder, "identity similarity")))
        embedder.check()
        return embedder

    def face_points(self) -> np.ndarray:
        """[5, 3] of the face model: eyes, nose and corners of the mouth, y up."""
        if self.invented:
            return np.array(MODEL_POINTS)
        return five_points(FACE_POINTS.required(self.folder, "E-FID"))

    def faces_of(self, folder: Path) -> FaceFinder | None:
        """Who says where the faces of a folder's videos are: its faces.jsonl, else SCRFD; None without both."""
        told = FacesFile(folder / FACES) if (folder / FACES).is_file() else None
        if told is not None:
            told.check()
        if self.invented:
            return InventedFaces(told)
        if told is not None:
            return told
        if not self.has("scrfd"):
            return None
        found = FoundFaces(FaceDetector(OnnxFile(SCRFD.required(self.folder, "finding faces"))), None)
        found.check()
        return found

    def check(self, names: set[str]) -> None:
        """Raise UsageError for a file that is of another network; warn of one whose bytes are not the published ones."""
        for name in sorted(names & set(published.NETWORKS)):
            self.network(name)
        if "arcface" in names:
            self.embedder()
        if "face_points" in names:
            self.face_points()


@dataclass(frozen=True)
class InventedFaces:
    """The faces of a file, or the whole picture for one, with landmarks where aligned ones lie: only beside invented
    weights."""

    told: FacesFile | None = None

    @property
    def fingerprint(self) -> str:
        """Of the file."""
        return f"invented landmarks, {'the whole picture' if self.told is None else self.told.fingerprint}"

    @property
    def knows_identities(self) -> bool:
        """No."""
        return False

    def told_of(self, video: str) -> str:
        """What the file told of it."""
        return "" if self.told is None else self.told.told_of(video)

    def faces(self, frame: np.ndarray, video: str, number: int) -> list[Face]:
        """The faces of one frame, largest first."""
        whole = Face((0.0, 0.0, float(frame.shape[1]), float(frame.shape[0])))
        found = [whole] if self.told is None else self.told.faces(frame, video, number)
        return [face if face.landmarks is not None else self._with_landmarks(face) for face in found]

    def embedding(self, frame: np.ndarray, face: Face) -> np.ndarray | None:
        """Nobody's."""
        return None

    def _with_landmarks(self, face: Face) -> Face:
        corner, end = np.array(face.box[:2]), np.array(face.box[2:])
        return Face(face.box, face.score, corner + TEMPLATE / CROP * (end - corner))


@dataclass(frozen=True)
class InventedEmbedder:
    """ArcFace's network with invented weights."""

    network: IResNet

    @torch.no_grad()
    def embedding(self, picture: np.ndarray, landmarks: np.ndarray) -> np.ndarray:
        """[512] of the face of a picture [H, W, 3] uint8 RGB with those landmarks."""
        face = torch.from_numpy((aligned(picture, landmarks) - 127.5) / 127.5).float()
        return rearrange(self.network(rearrange(face, "h w c -> 1 c h w")), "1 e -> e").numpy()


@cache
def _network(name: str, folder: Path | None, seed: int | None, device: str) -> nn.Module:
    if seed is not None:
        return published.invented(name, seed).network.to(device)
    return published.loaded(name, folder, f"a metric of the protocol ({name})").network.to(device)


@lru_cache(maxsize=1)
def _invented_embedder(seed: int) -> Any:
    network = IResNet(50)
    published.invent(network, seed, gain=0.5)
    return InventedEmbedder(network.eval())
