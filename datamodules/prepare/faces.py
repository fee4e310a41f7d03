"""Where the faces of a frame are: found by detector files, or told by a user's faces.jsonl."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from datamodules.prepare.face import Face, FaceFinder
from datamodules.prepare.faces_file import FacesFile
from hallo3_lightning.backbones.arcface import FaceEmbedder
from hallo3_lightning.backbones.onnx_file import OnnxFile
from hallo3_lightning.backbones.scrfd import FaceDetector
from hallo3_lightning.backbones.weight_files import ARCFACE, SCRFD
from hallo3_lightning.errors import UsageError


@dataclass(frozen=True)
class FoundFaces:
    """The faces that detector files find in the frames themselves."""

    detector: FaceDetector
    embedder: FaceEmbedder | None

    @property
    def fingerprint(self) -> str:
        """The detector's file and settings, and the embedder's file."""
        found = self.detector
        settings = f"{found.size} pixels, score {found.least_score}, overlap {found.most_overlap}"
        embedder = "none" if self.embedder is None else self.embedder.file.sha256
        return f"detector {found.file.sha256} ({settings}), embedder {embedder}"

    @property
    def knows_identities(self) -> bool:
        """Whether there is an embedder."""
        return self.embedder is not None

    def told_of(self, video: str) -> str:
        """Nothing."""
        return ""

    def faces(self, frame: np.ndarray, video: str, number: int) -> list[Face]:
        """The faces of one frame, largest first; only the frame is looked at."""
        found = self.detector.detect(frame)
        faces = [
            Face((float(box[0]), float(box[1]), float(box[2]), float(box[3])), float(score), landmarks)
            for box, score, landmarks in zip(found.boxes, found.scores, found.landmarks, strict=True)
        ]
        return sorted(faces, key=lambda face: -face.area)

    def embedding(self, frame: np.ndarray, face: Face) -> np.ndarray | None:
        """The identity of a face of that frame; None without an embedder or without landmarks."""
        if self.embedder is None or face.landmarks is None:
            return None
        return self.embedder.embedding(frame, face.landmarks)

    def check(self) -> None:
        """Raise UsageError for files that are not what their names say, or where nothing can run them."""
        self.detector.check()
        if self.embedder is not None:
            self.embedder.check()


def finder(
    folder: Path | None = None,
    faces_file: Path | None = None,
    *,
    with_embeddings: bool = True,
    threads: int = 1,
    option: str = "--faces",
) -> FaceFinder | None:
    """Who says where faces are: a user's faces.jsonl, or the detector files in a folder; None for neither.

    folder: of weight files, in any layout that `weight_files.PLACES` lists; with_embeddings: whether the folder must
    hold the embedder too; threads: of each process; option: what gave the folder. Raises UsageError that names a wrong
    line, or a missing file with its size, sha256 and source.
    """
    if folder is not None and faces_file is not None:
        raise UsageError(f"faces from {folder} and from {faces_file}: give one of the two")
    if faces_file is not None:
        if not faces_file.is_file():
            raise UsageError(f"{faces_file} is no file; give a faces.jsonl, or a folder with detector files")
        told = FacesFile(faces_file)
        told.check()
        return told
    return None if folder is None else _found_with(folder, with_embeddings, threads, option)


def _found_with(folder: Path, with_embeddings: bool, threads: int, option: str) -> FoundFaces:
    if not folder.is_dir():
        raise UsageError(f"{folder} is no folder; give one with detector files, or a faces.jsonl")
    detector = SCRFD.required(folder, "finding faces", option)
    embedder = ARCFACE.required(folder, "a face embedding", option) if with_embeddings else None
    found = FoundFaces(
        FaceDetector(OnnxFile(detector, threads)),
        None if embedder is None else FaceEmbedder(OnnxFile(embedder, threads)),
    )
    found.check()
    return found
