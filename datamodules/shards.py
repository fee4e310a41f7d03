"""What a sample is: the one contract for procedural and real data.

A data set is a folder of WebDataset shards (plain tar files); the members of sample `key` are

    key.json                      {"frames", "fps", "height", "width", "face_box", "identity", "split", ...}
    key.video.npy                 uint8 [F, H, W, 3], or instead of it
    key.mp4                       any video that `VideoFile` reads: its frames at 25 a second, decoded when asked for
    key.wav                       16 kHz mono PCM16, exactly as long as the video; absent where there is none, or where the mp4's
                                  own sound track is meant
    key.txt                       caption, UTF-8
    key.face_embedding.npy        float32 [E], optional
    key.truth.safetensors         per-frame ground truth, each [F, ...]; procedural data only

and what `hallo3 cache` computes ahead, each optional, float32, float16 or bfloat16:

    key.latents.safetensors       {"starts": int64 [K], "latents": [K, T, C, h, w]}: K clips by their first frame
    key.text_embeddings.npy       [L, E], or .safetensors {"text_embeddings": ...}
    key.audio_features.npy        [F + 4, layers, channels], or .safetensors {"audio_features": ...}: of the whole take
                                  with AUDIO_CONTEXT_FRAMES of silence on either side

`face_box` is [x0, y0, x1, y1] in pixels, x1 and y1 exclusive: the union of the face over all frames; null where the
face is not known. Nothing in a shard is ever executed: each member has its decoder in a fixed table, and pickle is
refused. Other people's shards of key.mp4 and key.txt are samples too: what their json does not say of the video is
read from it.
"""

import io
import json
import math
import struct
import tokenize
from collections.abc import Callable, Iterable, Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import safetensors
import safetensors.numpy
import soundfile

from datamodules.bad_sample import BadSample as BadSample
from datamodules.faults import faults
from datamodules.sample import Frames as Frames
from datamodules.sample import Sample as Sample
from datamodules.video.video_file import Mp4
from hallo3_lightning.geometry import FPS, SAMPLE_RATE_HZ


def encode(sample: Sample) -> dict[str, bytes]:
    """The members of a sample, by their name without the key; the same sample gives the same bytes."""
    members = {"json": json.dumps(dict(sample.facts), sort_keys=True).encode(), **_encoded_video(sample.video)}
    if sample.waveform is not None:
        members["wav"] = _wav(sample.waveform)
    members["txt"] = sample.caption.encode()
    for name in ("face_embedding", "text_embeddings", "audio_features"):
        if getattr(sample, name) is not None:
            members[f"{name}.npy"] = _npy(getattr(sample, name))
    for name in ("truth", "latents"):
        if getattr(sample, name) is not None:
            arrays = {part: np.ascontiguousarray(array) for part, array in getattr(sample, name).items()}
            members[f"{name}.safetensors"] = safetensors.numpy.save(arrays)
    return members


def _encoded_video(video: Frames) -> dict[str, bytes]:
    return {"mp4": video.payload} if isinstance(video, Mp4) else {"video.npy": _npy(np.asarray(video))}


def write_shard(path: Path, samples: Iterable[Sample]) -> None:
    """Write samples into one tar; see `write_members`."""
    write_members(path, ((sample.key, encode(sample)) for sample in samples))


def write_members(path: Path, samples: Iterable[tuple[str, Mapping[str, bytes]]]) -> None:
    """Write keys and their members into one tar, which appears under its name only when it is whole.

    The bytes depend on the samples alone: times, owners and modes are fixed.
    """
    from webdataset.writer import TarWriter  # late: webdataset imports torch

    partial = path.with_suffix(".partial")
    with (
        partial.open("wb") as file,
        TarWriter(file, encoder=False, compress=False, mtime=0, user="hallo3", group="hallo3") as tar,
    ):
        for key, members in samples:
            tar.write({"__key__": key, **members})
    partial.replace(path)


def _npy(array: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, array, allow_pickle=False)
    return buffer.getvalue()


def _wav(waveform: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    soundfile.write(buffer, waveform, SAMPLE_RATE_HZ, format="WAV", subtype="PCM_16")
    return buffer.getvalue()


def _read_json(payload: bytes) -> dict[str, Any]:
    facts = json.loads(payload)
    if not isinstance(facts, dict):
        raise ValueError(f"expected names and values, got a {type(facts).__name__}")
    return facts


def _read_npy(payload: bytes) -> np.ndarray:
    """A view of the payload: nothing is copied, and nothing is reserved for what an array claims to hold."""
    width = 2 if payload[6:7] == b"\x01" else 4  # of the length, by the format's version
    begin = 8 + width + int.from_bytes(payload[8 : 8 + width], "little")
    if begin > _LONGEST_HEADER:
        raise ValueError(f"its header claims {begin} bytes, at most {_LONGEST_HEADER} are read")
    shape, in_columns, dtype = _npy_header(payload[:begin])
    count = math.prod(shape)
    if count * dtype.itemsize > len(payload) - begin:
        raise ValueError(f"it holds {len(payload) - begin} bytes, too few for {dtype} {list(shape)}")
    return np.frombuffer(payload, dtype, count, begin).reshape(shape, order="F" if in_columns else "C")


_LONGEST_HEADER = 10_000


@lru_cache(maxsize=256)
def _npy_header(header: bytes) -> tuple[tuple[int, ...], bool, np.dtype]:
    """Shape, whether by columns, dtype. Samples are alike: parsing it anew takes longer than all other reading."""
    file = io.BytesIO(header)
    version = np.lib.format.read_magic(file)
    if version not in ((1, 0), (2, 0)):
        raise ValueError(f"it is of version {version} of the format, expected 1.0 or 2.0")
    read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
    shape, in_columns, dtype = read(file)
    if dtype.hasobject or min(shape, default=0) < 0:
        raise ValueError(f"it holds {dtype} {list(shape)}; objects are never read")
    return shape, in_columns, dtype


def _read_wav(payload: bytes) -> np.ndarray:
    with soundfile.SoundFile(io.BytesIO(payload)) as sound:
        if sound.samplerate != SAMPLE_RATE_HZ or sound.channels != 1:
            raise ValueError(f"expected {SAMPLE_RATE_HZ} Hz mono, got {sound.samplerate} Hz, {sound.channels} channels")
        if sound.subtype not in ("FLOAT", "DOUBLE"):
            return sound.read(dtype="int16")
        waveform = sound.read(dtype="float32")
    if not np.isfinite(waveform).all():
        raise _NotFinite("it holds numbers that are not finite")
    return np.clip(np.rint(waveform * 32768), -32768, 32767).astype(np.int16)


class _NotFinite(ValueError):
    """Sound that is not a number."""


SAFETENSORS_DTYPES = {
    "F64": "<f8", "F32": "<f4", "F16": "<f2", "I64": "<i8", "I32": "<i4", "I16": "<i2", "I8": "i1", "U8": "u1", "BOOL": "?",
}  # fmt: skip


def _read_safetensors(payload: bytes) -> dict[str, np.ndarray]:
    return {name: _array(tensor) for name, tensor in sorted(safetensors.deserialize(payload))}


def _array(tensor: Mapping[str, Any]) -> np.ndarray:
    """bfloat16, which NumPy does not have, becomes float32: its upper two bytes."""
    if tensor["dtype"] == "BF16":
        upper = np.frombuffer(tensor["data"], "<u2").astype("<u4")
        return (upper << 16).view("<f4").reshape(tensor["shape"])
    return np.frombuffer(tensor["data"], SAFETENSORS_DTYPES[tensor["dtype"]]).reshape(tensor["shape"])


def _read_one(name: str) -> Callable[[bytes], np.ndarray]:
    return lambda payload: _read_safetensors(payload)[name]


DECODERS: Mapping[str, tuple[str, Callable[[bytes], Any]]] = {
    "json": ("facts", _read_json),
    "video.npy": ("video", _read_npy),
    "mp4": ("video", Mp4),
    "wav": ("waveform", _read_wav),
    "txt": ("caption", bytes.decode),
    "face_embedding.npy": ("face_embedding", _read_npy),
    "truth.safetensors": ("truth", _read_safetensors),
    "latents.safetensors": ("latents", _read_safetensors),
    "text_embeddings.npy": ("text_embeddings", _read_npy),
    "text_embeddings.safetensors": ("text_embeddings", _read_one("text_embeddings")),
    "audio_features.npy": ("audio_features", _read_npy),
    "audio_features.safetensors": ("audio_features", _read_one("audio_features")),
}
"""Member -> the field of Sample it becomes, and how. Members that are not here are never read."""

REQUIRED = {"video": "video.npy or mp4", "facts": "json", "caption": "txt"}
"""Field that every sample has -> the members that give it."""

SIGNALS = frozenset({"latents", "text_embeddings", "audio_features"})
"""Fields that `hallo3 cache` writes into shards of their own, which hold nothing else."""

DECODING_ERRORS = (
    ArithmeticError, AttributeError, EOFError, LookupError, MemoryError, RecursionError, SyntaxError, TypeError, ValueError,
    struct.error, tokenize.TokenError, safetensors.SafetensorError, soundfile.SoundFileError,
)  # fmt: skip
"""What the decoders raise for bytes that are not what the member's name says, or that claim to be endless."""


def decode(members: Mapping[str, bytes], key: str, shard: str, sound: bool = True) -> Sample:
    """The sample whose members these are; `shard` is for the error messages.

    sound: whether the sound track of a video is decoded where there is no wav.

    Raises BadSample, naming shard, key and member, for what is missing, undecodable or not of the size that the
    json says.
    """
    fields: dict[str, Any] = {"waveform": None, **decoded(members, key, shard)}
    _complete(fields, sound)
    absent = [given for field, given in REQUIRED.items() if field not in fields]
    if absent:
        message = f"{shard}: sample '{key}' lacks {', '.join(absent)}; it has {', '.join(sorted(members))}"
        raise BadSample(message, shard=shard, key=key, member=absent[0], reason="missing member")
    sample = Sample(key=key, **fields)
    for member, reason, fault in faults(sample):
        message = f"{shard}: sample '{key}': {fault}; write the shard again"
        raise BadSample(message, shard=shard, key=key, member=member, reason=reason)
    return sample


def decoded(members: Mapping[str, bytes], key: str, shard: str) -> dict[str, Any]:
    """The fields that members hold, each alone as it should be. Raises BadSample for what is undecodable."""
    fields: dict[str, Any] = {}
    for name, payload in members.items():
        if name not in DECODERS:
            continue
        field, decoder = DECODERS[name]
        try:
            fields[field] = Mp4(payload, shard, key) if decoder is Mp4 else decoder(payload)
        except DECODING_ERRORS as error:
            reason = "non-finite sound" if isinstance(error, _NotFinite) else "undecodable member"
            message = f"{shard}: sample '{key}': member {name} cannot be decoded: {error}; write the shard again"
            raise BadSample(message, shard=shard, key=key, member=name, reason=reason) from error
    return fields


def _complete(fields: dict[str, Any], sound: bool) -> None:
    """What a video file says of itself stands in for what the sample does not say."""
    video = fields.get("video")
    if not isinstance(video, Mp4):
        return
    frames, height, width, _ = video.shape
    seen = {"frames": frames, "fps": FPS, "height": height, "width": width}
    unknown = {"face_box": None, "identity": "", "split": ""}
    fields["facts"] = {**seen, **unknown, **fields.get("facts", {})}
    if fields["waveform"] is None and sound:
        fields["waveform"] = video.file.sound()
