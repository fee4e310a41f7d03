"""The networks that evaluation runs, each with its published weights from a folder, or with invented ones.

Invented weights make every metric run without a file. They mean nothing: whoever prints a number that they gave says so
beside it (NOT_A_SCORE).
"""

import hashlib
import math
import zlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import torch
from torch import Tensor, nn

from hallo3_lightning.backbones import weight_files
from hallo3_lightning.backbones.state import UNUSED, load_state
from hallo3_lightning.backbones.weight_files import WeightFile, sha256_of
from hallo3_lightning.errors import unknown

NOT_A_SCORE = "NOT A QUALITY SCORE"
"""Stamp of all that invented weights gave."""


@dataclass(frozen=True)
class Published:
    """A network and where its weights are."""

    file: WeightFile
    build: Callable[[], nn.Module]
    part: str | None = None
    """Of the file, where it holds more than named tensors."""
    only: tuple[str, ...] = ("",)
    """Beginnings of names, where the file has other networks' too."""
    gain: float = 1.0
    """Of invented weights: 1 keeps values as large as they were through layers with no shortcut."""
    factors: Mapping[str, float] = field(default_factory=dict)
    """Of invented weights by ends of names: small where a shortcut, a loop or an input of 0..255 would let values grow."""


@dataclass(frozen=True)
class Loaded:
    """A network ready to evaluate with: its mode is that, and it asks for no gradients."""

    network: nn.Module
    sha256: str
    """Of the file, or of all invented tensors."""
    file: Path | None
    """None where the weights are invented: then nothing that it gives is a score."""


def loaded(name: str, folder: Path | None, what: str) -> Loaded:
    """The network with the weights that lie in a folder; `what` needs it. Raises UsageError that says which file to get,
    or that the file is of another network; warns of a file whose bytes are not the published ones."""
    published = _published(name)
    file = published.file.required(folder, what)
    network = published.build()
    load_state(network, file, published.part, published.only)
    return Loaded(network.eval().requires_grad_(False), sha256_of(file), file)


def invented(name: str, seed: int) -> Loaded:
    """The network with weights that depend on the seed and the names and shapes of its tensors alone."""
    published = _published(name)
    network = published.build()
    invent(network, seed, published.gain, published.factors)
    return Loaded(network.eval().requires_grad_(False), _sum(network), None)


@torch.no_grad()
def invent(network: nn.Module, seed: int, gain: float = 1.0, factors: Mapping[str, float] | None = None) -> None:
    """Fill a network with invented weights, tensor by tensor, whatever their order."""
    for name, tensor in network.state_dict().items():
        if not name.endswith(UNUSED):
            factor = math.prod(value for end, value in (factors or {}).items() if name.endswith(end))
            tensor.copy_(_invented(name, tensor, seed, gain) * factor)


def _invented(name: str, like: Tensor, seed: int, gain: float) -> Tensor:
    """Matrices by the size of their input; scales and variances about 1, all else near 0."""
    generator = torch.Generator().manual_seed((seed * 1_000_003 + zlib.crc32(name.encode())) & 0x7FFFFFFF)
    if like.ndim < 2 and name.endswith(("running_var", "weight")):
        return torch.rand(like.shape, generator=generator) * 0.5 + 0.75
    spread = 0.05 if name.endswith("running_mean") else 0.02
    if like.ndim >= 2:
        spread = gain * math.sqrt(2 / math.prod(like.shape[1:]))
    return torch.randn(like.shape, generator=generator) * spread


def _sum(network: nn.Module) -> str:
    total = hashlib.sha256()
    for name, tensor in sorted(network.state_dict().items()):
        if not name.endswith(UNUSED):
            total.update(name.encode() + tensor.contiguous().numpy().tobytes())
    return total.hexdigest()


def _inception() -> nn.Module:
    from hallo3_lightning.backbones.inception import Inception

    return Inception()


def _i3d() -> nn.Module:
    from hallo3_lightning.backbones.i3d import I3D

    return I3D()


def _deep3d() -> nn.Module:
    from hallo3_lightning.backbones.deep3d import RNet

    return RNet()


def _dino() -> nn.Module:
    from hallo3_lightning.backbones.dino import Dino

    return Dino()


def _clip() -> nn.Module:
    from hallo3_lightning.backbones.clip import Clip

    return Clip()


def _raft() -> nn.Module:
    from hallo3_lightning.backbones.raft import Raft

    return Raft()


def _syncnet() -> nn.Module:
    from hallo3_lightning.backbones.syncnet import SyncNet

    return SyncNet()


def _s3fd() -> nn.Module:
    from hallo3_lightning.backbones.s3fd import S3FDNet

    return S3FDNet()


NETWORKS: Mapping[str, Published] = {
    "inception": Published(weight_files.INCEPTION, _inception),
    "i3d": Published(weight_files.I3D, _i3d),
    "deep3d": Published(weight_files.DEEP3D, _deep3d, part="net_recon", gain=0.7, factors={".bn3.weight": 0.25}),
    "dino": Published(weight_files.DINO, _dino, gain=0.5),
    "clip": Published(weight_files.CLIP, _clip, only=("vision_model.", "visual_projection."), gain=0.5),
    "raft": Published(
        weight_files.RAFT, _raft, gain=0.5, factors={"flow_head.conv2.weight": 0.05, "flow_head.conv2.bias": 0.05}
    ),
    "syncnet": Published(
        weight_files.SYNCNET,
        _syncnet,
        factors={
            "netcnnlip.0.weight": 1 / 96,
            "netcnnaud.0.weight": 1 / 8,
            "netfclip.3.weight": 1 / 32,
            "netfcaud.3.weight": 1 / 32,
        },
    ),
    "s3fd": Published(
        weight_files.S3FD, _s3fd, factors={"L2Norm3_3.weight": 10, "L2Norm4_3.weight": 8, "L2Norm5_3.weight": 5}
    ),
}
"""By a short name. Faces' identities come from ONNX files (arcface.py), which bring their network along."""


def _published(name: str) -> Published:
    if name not in NETWORKS:
        raise unknown("network", name, NETWORKS)
    return NETWORKS[name]
