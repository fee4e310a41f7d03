"""Which weight files of other people the project can use, where they lie, and whether they are the ones meant.

Nothing is ever downloaded: a file that is needed and absent is named with its size, sha256 and source.
Sizes and sums are what several independent projects state for the files (those of antelopev2 and buffalo_l: release v0.7
of github.com/deepinsight/insightface); None where nobody's was found.
"""

import hashlib
import os
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from hallo3_lightning.errors import UsageError, unknown

VARIABLE = "HALLO3_WEIGHTS"
"""Of the environment: the folder of weight files where --weights-dir is not given."""

PLACES = (
    "",
    "models",
    "face_analysis/models",
    "pretrained_models/face_analysis/models",
    "antelopev2",
    "antelopev2/antelopev2",
    "models/antelopev2",
    "models/antelopev2/antelopev2",
    "buffalo_l",
    "models/buffalo_l",
    "syncnet",
)
"""Where in a folder of weights a file may lie: loose; as the published Hallo3 weights have it (README, "Download
Pretrained Models": face_analysis/models); as insightface unpacks its packs (models/NAME, and NAME twice, since the zip of
antelopev2 holds a folder of that name)."""


@dataclass(frozen=True)
class WeightFile:
    """One file of weights."""

    name: str
    num_bytes: int | None
    sha256: str | None
    source: str
    licence: str
    purpose: str
    needed_by: tuple[str, ...]
    """Verbs of `hallo3` that use it; none for a file that only `hallo3_lightning.backbones` reads so far."""
    also_named: tuple[str, ...] = ()
    """Names under which the same bytes are published too."""

    def find(self, folder: Path | None) -> Path | None:
        """Where it lies in a folder of weights; None where it does not."""
        if folder is None:
            return None
        paths = (folder / place / name for name in (self.name, *self.also_named) for place in PLACES)
        return next((path for path in paths if path.is_file()), None)

    def required(self, folder: Path | None, what: str, option: str = f"--weights-dir or {VARIABLE}") -> Path:
        """Where it lies; `what` needs it, and `option` gives the folder. Raises UsageError that says which file to get,
        and from where; warns of a file that has the name and not the bytes."""
        path = self.find(folder)
        if path is not None:
            if not (state := self.state(folder)).startswith("present"):
                warnings.warn(
                    f"{path} is not the published {self.name} ({state}): {what} goes by another", stacklevel=2
                )
            return path
        size = "size unknown" if self.num_bytes is None else f"{self.num_bytes:,} bytes"
        there = f"is not in {folder}" if folder is not None else "has no folder to be in"
        raise UsageError(
            f"{what} needs {self.name} ({size}, sha256 {self.sha256 or 'unknown'}), which {there}; get it from "
            f"{self.source}, put it in a folder and give that with {option}; `hallo3 doctor` lists what is there and "
            "what is missing"
        )

    def state(self, folder: Path | None) -> str:
        """ "present", "missing", or what differs; all bytes are read."""
        path = self.find(folder)
        if path is None:
            return "missing"
        if self.num_bytes is not None and path.stat().st_size != self.num_bytes:
            return f"{path.stat().st_size:,} bytes, not {self.num_bytes:,}"
        if self.sha256 is not None and sha256_of(path) != self.sha256:
            return "sha256 differs"
        return "present" if self.sha256 is not None else "present, sha256 not known"


INSIGHTFACE = "https://github.com/deepinsight/insightface/releases/download/v0.7"
INSIGHTFACE_LICENCE = "non-commercial research only (insightface's README)"
LIPSYNC = "https://www.robots.ox.ac.uk/~vgg/software/lipsync/data"

SCRFD = WeightFile(
    name="scrfd_10g_bnkps.onnx",
    also_named=("det_10g.onnx",),
    num_bytes=16_923_827,
    sha256="5838f7fe053675b1c7a08b633df49e7af5495cee0493c7dcf6697200b85b5b91",
    source=f"{INSIGHTFACE}/antelopev2.zip (or buffalo_l.zip), or face_analysis/models of the published Hallo3 weights",
    licence=INSIGHTFACE_LICENCE,
    purpose="finds faces and five landmarks (SCRFD, arXiv 2105.04714)",
    needed_by=("prepare", "evaluate"),
)

ARCFACE = WeightFile(
    name="glintr100.onnx",
    num_bytes=260_665_334,
    sha256="4ab1d6435d639628a6f3e5008dd4f929edf4c4124b1a7169e1048f9fef534cdf",
    source=f"{INSIGHTFACE}/antelopev2.zip, or face_analysis/models of the published Hallo3 weights",
    licence=INSIGHTFACE_LICENCE,
    purpose="face embeddings, the ones that the published Hallo3 is conditioned on (ArcFace, arXiv 1801.07698)",
    needed_by=("prepare", "evaluate"),
)

SYNCNET = WeightFile(
    name="syncnet_v2.model",
    num_bytes=54_573_114,
    sha256="961e8696f888fce4f3f3a6c3d5b3267cf5b343100b238e79b2659bff2c605442",
    source=f"{LIPSYNC}/syncnet_v2.model",
    licence="not stated (the code beside it: MIT)",
    purpose="how far sound and lips are apart (SyncNet, Chung and Zisserman 2016)",
    needed_by=("prepare", "evaluate"),
)

S3FD = WeightFile(
    name="sfd_face.pth",
    num_bytes=89_844_381,
    sha256="d54a87c2b7543b64729c9a25eafd188da15fd3f6e02f0ecec76ae1b30d86c491",
    source=f"{LIPSYNC}/sfd_face.pth (not the file of the same network that face-alignment has)",
    licence="not stated (the code beside it: MIT)",
    purpose="finds faces as the reference for Sync-C and Sync-D does (S3FD, arXiv 1708.05237)",
    needed_by=("evaluate",),
)

INCEPTION = WeightFile(
    name="pt_inception-2015-12-05-6726825d.pth",
    also_named=("weights-inception-2015-12-05-6726825d.pth",),
    num_bytes=95_628_359,
    sha256="6726825d0af5f729cebd5821db510b11b1cfad8faad88a03f1befd49fb9129b2",
    source="https://github.com/mseitzer/pytorch-fid/releases/download/fid_weights/pt_inception-2015-12-05-6726825d.pth",
    licence="Apache-2.0 (pytorch-fid)",
    purpose="features of pictures for FID and KID (Inception-v3, arXiv 1512.00567)",
    needed_by=("evaluate",),
)

I3D = WeightFile(
    name="i3d_pretrained_400.pt",
    num_bytes=None,
    sha256=None,
    source="github.com/wilson1yan/VideoGPT or github.com/Wangt-CN/DisCo, which fetch it for FVD (not i3d_torchscript.pt)",
    licence="not stated (the network it was converted from: Apache-2.0)",
    purpose="features of videos for FVD and KVD (I3D, arXiv 1705.07750)",
    needed_by=("evaluate",),
)

DEEP3D = WeightFile(
    name="epoch_20.pth",
    num_bytes=None,
    sha256=None,
    source='github.com/sicxu/Deep3DFaceRecon_pytorch, README, "Prepare prerequisite models"',
    licence="not stated (the code beside it: MIT; the Basel Face Model's terms hold for shapes made with it)",
    purpose="expressions of faces for E-FID (R-Net of Deep3DFaceRecon, arXiv 1903.08527)",
    needed_by=("evaluate",),
)

DINO = WeightFile(
    name="dino_vitbase16_pretrain.pth",
    num_bytes=None,
    sha256=None,
    source="https://dl.fbaipublicfiles.com/dino/dino_vitbase16_pretrain/dino_vitbase16_pretrain.pth",
    licence="Apache-2.0",
    purpose="subject consistency (DINO ViT-B/16, arXiv 2104.14294)",
    needed_by=("evaluate",),
)

CLIP = WeightFile(
    name="clip-vit-base-patch32/model.safetensors",
    also_named=("clip-vit-base-patch32/pytorch_model.bin",),
    num_bytes=None,
    sha256=None,
    source="https://huggingface.co/openai/clip-vit-base-patch32, the folder under its name (not OpenAI's ViT-B-32.pt)",
    licence="MIT (OpenAI's CLIP)",
    purpose="background consistency (CLIP ViT-B/32, arXiv 2103.00020)",
    needed_by=("evaluate",),
)

RAFT = WeightFile(
    name="raft-things.pth",
    num_bytes=21_108_000,
    sha256="fcfa4125d6418f4de95d84aec20a3c5f4e205101715a79f193243c186ac9a7e1",
    source="models.zip of github.com/princeton-vl/RAFT (download_models.sh)",
    licence="BSD-3-Clause",
    purpose="optical flow for the dynamic degree (RAFT, arXiv 2003.12039)",
    needed_by=("evaluate",),
)

FACE_POINTS = WeightFile(
    name="similarity_Lm3D_all.mat",
    also_named=("BFM/similarity_Lm3D_all.mat",),
    num_bytes=None,
    sha256=None,
    source="BFM/ of github.com/sicxu/Deep3DFaceRecon_pytorch",
    licence="the Basel Face Model's terms",
    purpose="where eyes, nose and mouth of the face model lie, to align faces for E-FID",
    needed_by=("evaluate",),
)

REGISTRY: Mapping[str, WeightFile] = {
    file.name: file for file in (SCRFD, ARCFACE, SYNCNET, S3FD, INCEPTION, I3D, DEEP3D, DINO, CLIP, RAFT, FACE_POINTS)
}


@dataclass(frozen=True)
class WeightFolder:
    """A folder of weights that save_pretrained wrote, or a published one that import-weights reads."""

    name: str
    setting: str
    """How a run is told where it is."""
    source: str
    licence: str
    purpose: str
    needed_by: tuple[str, ...]
    holds: str
    """A file that it must have."""

    def find(self, folder: Path | None) -> Path | None:
        """Where it lies in a folder of weights; None where it does not."""
        if folder is None:
            return None
        paths = (
            folder / place / self.name for place in ("", "wav2vec", "pretrained_models", "pretrained_models/wav2vec")
        )
        return next((path for path in paths if (path / self.holds).is_file()), None)

    def state(self, folder: Path | None) -> str:
        """ "present" or "missing"; what it holds is not looked at."""
        return "missing" if self.find(folder) is None else "present"


MODELS = ("fit", "validate", "test", "predict")

FOLDERS: tuple[WeightFolder, ...] = (
    WeightFolder(
        name="CogVideoX-5b-I2V/vae",
        setting="--model.encoders.video_folder",
        source="https://huggingface.co/zai-org/CogVideoX-5b-I2V",
        licence="CogVideoX licence (its model card)",
        purpose="video autoencoder of the full size",
        needed_by=MODELS,
        holds="config.json",
    ),
    WeightFolder(
        name="CogVideoX-5b-I2V/transformer",
        setting="hallo3 import-weights",
        source="https://huggingface.co/zai-org/CogVideoX-5b-I2V",
        licence="CogVideoX licence (its model card)",
        purpose="backbone that the full size starts from",
        needed_by=("import-weights",),
        holds="config.json",
    ),
    WeightFolder(
        name="t5-v1_1-xxl",
        setting="--model.encoders.text_folder",
        source="https://huggingface.co/google/t5-v1_1-xxl, or the published Hallo3 weights",
        licence="Apache-2.0",
        purpose="text encoder of the full size",
        needed_by=MODELS,
        holds="config.json",
    ),
    WeightFolder(
        name="wav2vec2-base-960h",
        setting="--model.encoders.audio_folder",
        source="https://huggingface.co/facebook/wav2vec2-base-960h, or wav2vec/ of the published Hallo3 weights",
        licence="Apache-2.0",
        purpose="audio encoder of the full size",
        needed_by=MODELS,
        holds="config.json",
    ),
)


def weights_dir(given: Path | None = None) -> Path | None:
    """The folder of weight files: the one given, else that of the environment, else None. An absent one is an error."""
    name = given if given is not None else os.environ.get(VARIABLE)
    if not name:
        return None
    folder = Path(name).expanduser()
    if not folder.is_dir():
        told = "--weights-dir" if given is not None else VARIABLE
        raise UsageError(f"{told} {folder} is no folder; give the folder that holds the weight files")
    return folder


def weight_file(name: str) -> WeightFile:
    """The file of that name. Raises UsageError that lists the known ones."""
    if name not in REGISTRY:
        raise unknown("weight file", name, REGISTRY)
    return REGISTRY[name]


def sha256_of(path: Path) -> str:
    """sha256 of a file, read once a process while it stays as it is."""
    stat = path.stat()
    return _sha256(path, stat.st_size, stat.st_mtime_ns)


@lru_cache(maxsize=64)
def _sha256(path: Path, num_bytes: int, changed_ns: int) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
