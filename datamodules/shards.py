"""What a sample is: the one contract for procedural and real data.

A data set is a folder of WebDataset shards (plain tar files); the members of sample `key` are

    key.json                 {"frames", "fps", "height", "width", "face_box", "identity", "split", ...}
    key.video.npy            uint8 [F, H, W, 3]
    key.wav                  16 kHz mono PCM16, exactly as long as the video
    key.txt                  caption, UTF-8
    key.face_embedding.npy   float32 [E], optional
    key.truth.safetensors    per-frame ground truth, each [F, ...]; procedural data only

`face_box` is [x0, y0, x1, y1] in pixels, x1 and y1 exclusive: the union of the face over all frames.
Nothing in a shard is ever executed: each member has its decoder in a fixed table, and pickle is refused.
"""

import io
import json
import struct
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import safetensors
import safetensors.numpy
import soundfile

from hallo3_lightning.errors import UsageError
from hallo3_lightning.geometry import FPS, SAMPLE_RATE_HZ, audio_samples

Arrays = Mapping[str, np.ndarray]

FACTS = ("frames", "fps", "height", "width", "face_box", "identity", "split")
"""What the json of every sample says; it may say more."""


class BadSample(UsageError):
    """A sample that does not keep the contract: names shard, key and member."""


@dataclass(frozen=True)
class Sample:
    """One take: a talking head of F frames with its sound."""

    key: str
    facts: Mapping[str, Any]
    video: np.ndarray
    """[F, H, W, 3] uint8."""
    waveform: np.ndarray
    """[S] int16, S = F * SAMPLES_PER_FRAME."""
    caption: str
    face_embedding: np.ndarray | None = None
    """[E] float32."""
    truth: Arrays | None = None
    """Each [F, ...]; the names are those of `datamodules.synthetic.take`."""


def encode(sample: Sample) -> dict[str, bytes]:
    """The members of a sample, by their name without the key; the same sample gives the same bytes."""
    members = {
        "json": json.dumps(dict(sample.facts), sort_keys=True).encode(),
        "video.npy": _npy(sample.video),
        "wav": _wav(sample.waveform),
        "txt": sample.caption.encode(),
    }
    if sample.face_embedding is not None:
        members["face_embedding.npy"] = _npy(sample.face_embedding)
    if sample.truth is not None:
        members["truth.safetensors"] = safetensors.numpy.save(
            {name: np.ascontiguousarray(track) for name, track in sample.truth.items()}
        )
    return members


def write_shard(path: Path, samples: Iterable[Sample]) -> None:
    """Write samples into one tar, which appears under its name only when it is whole.

    The bytes depend on the samples alone: times, owners and modes are fixed.
    """
    from webdataset.writer import TarWriter  # late: webdataset imports torch

    partial = path.with_suffix(".partial")
    with (
        partial.open("wb") as file,
        TarWriter(file, encoder=False, compress=False, mtime=0, user="hallo3", group="hallo3") as tar,
    ):
        for sample in samples:
            tar.write({"__key__": sample.key, **encode(sample)})
    partial.replace(path)


def _npy(array: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, array, allow_pickle=False)
    return buffer.getvalue()


def _wav(waveform: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    soundfile.write(buffer, waveform, SAMPLE_RATE_HZ, format="WAV", subtype="PCM_16")
    return buffer.getvalue()


def _read_npy(payload: bytes) -> np.ndarray:
    return np.lib.format.read_array(io.BytesIO(payload), allow_pickle=False)


def _read_wav(payload: bytes) -> np.ndarray:
    waveform, rate_hz = soundfile.read(io.BytesIO(payload), dtype="int16")
    if rate_hz != SAMPLE_RATE_HZ or waveform.ndim != 1:
        raise ValueError(f"expected {SAMPLE_RATE_HZ} Hz mono, got {rate_hz} Hz of shape {waveform.shape}")
    return waveform


def _read_safetensors(payload: bytes) -> dict[str, np.ndarray]:
    return dict(sorted(safetensors.numpy.load(payload).items()))


DECODERS: Mapping[str, tuple[str, Callable[[bytes], Any]]] = {
    "json": ("facts", json.loads),
    "video.npy": ("video", _read_npy),
    "wav": ("waveform", _read_wav),
    "txt": ("caption", bytes.decode),
    "face_embedding.npy": ("face_embedding", _read_npy),
    "truth.safetensors": ("truth", _read_safetensors),
}
"""Member -> the field of Sample it becomes, and how. Members that are not here are never read."""

REQUIRED = ("facts", "video", "waveform", "caption")

DECODING_ERRORS = (ValueError, EOFError, KeyError, struct.error, safetensors.SafetensorError, soundfile.SoundFileError)
"""What the decoders raise for bytes that are not what the member's name says."""


def decode(members: Mapping[str, bytes], key: str, shard: str) -> Sample:
    """The sample whose members these are; `shard` is for the error messages.

    Raises BadSample, naming shard, key and member, for what is missing, undecodable or not of the size that the
    json says.
    """
    fields: dict[str, Any] = {}
    for name, payload in members.items():
        if name not in DECODERS:
            continue
        field, decoder = DECODERS[name]
        try:
            fields[field] = decoder(payload)
        except DECODING_ERRORS as error:
            raise BadSample(
                f"{shard}: sample '{key}': member {name} cannot be decoded: {error}; write the shard again"
            ) from error
    absent = [name for name, (field, _) in DECODERS.items() if field in REQUIRED and field not in fields]
    if absent:
        raise BadSample(f"{shard}: sample '{key}' lacks {', '.join(absent)}; it has {', '.join(sorted(members))}")
    sample = Sample(key=key, **fields)
    for fault in _faults(sample):
        raise BadSample(f"{shard}: sample '{key}': {fault}; write the shard again")
    return sample


def _faults(sample: Sample) -> Iterable[str]:
    """What does not fit the json, one sentence each."""
    missing = [name for name in FACTS if name not in sample.facts]
    if missing:
        yield f"json lacks {', '.join(missing)}"
        return
    frames, height, width = (sample.facts[name] for name in ("frames", "height", "width"))
    if sample.facts["fps"] != FPS:
        yield f"json says {sample.facts['fps']} frames a second, expected {FPS}"
    if sample.video.shape != (frames, height, width, 3) or sample.video.dtype != np.uint8:
        yield (
            f"video.npy is {sample.video.dtype} {list(sample.video.shape)}, "
            f"json says uint8 {[frames, height, width, 3]}"
        )
    if len(sample.waveform) != audio_samples(frames):
        yield f"wav has {len(sample.waveform)} samples, {frames} frames last {audio_samples(frames)}"
    for name, track in (sample.truth or {}).items():
        if len(track) != frames:
            yield f"truth.safetensors: {name} has {len(track)} frames, json says {frames}"
