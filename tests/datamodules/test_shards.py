import io
import json
import math
import pickle
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import safetensors.torch
import soundfile
import torch

from datamodules.shards import DECODERS, BadSample, Sample, decode, encode, write_shard
from datamodules.synthetic.take import make_take
from datamodules.video.video_file import Mp4, write_mp4


@pytest.fixture(scope="module")
def sample():
    return make_take(3, 0, frames=7, size=16)


class Payload:
    """Touches a file when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self):
        return Path.touch, (self.path,)


def test_decoding_gives_what_was_encoded(sample):
    read = decode(encode(sample), sample.key, "a.tar")
    assert (read.key, read.caption, read.facts) == (sample.key, sample.caption, sample.facts)
    for name in ("video", "waveform", "face_embedding"):
        np.testing.assert_array_equal(getattr(read, name), getattr(sample, name))
    assert read.truth.keys() == sample.truth.keys()
    for name, track in sample.truth.items():
        np.testing.assert_array_equal(read.truth[name], track)


def test_real_data_need_no_truth(sample):
    members = encode(replace(sample, truth=None, face_embedding=None))
    read = decode(members, sample.key, "a.tar")
    assert read.truth is None
    assert read.face_embedding is None


def test_same_samples_same_bytes(sample, tmp_path):
    for name in ("a.tar", "b.tar"):
        write_shard(tmp_path / name, [sample])
    assert (tmp_path / "a.tar").read_bytes() == (tmp_path / "b.tar").read_bytes()


@pytest.mark.parametrize("member", ["video.npy", "wav", "json", "truth.safetensors", "txt"])
def test_damaged_member_is_named(sample, member):
    with pytest.raises(BadSample, match=rf"a\.tar: sample '0000000': member {member} cannot be decoded"):
        decode(encode(sample) | {member: b"\xff\xfenonsense"}, sample.key, "a.tar")


def test_missing_member_is_named(sample):
    members = encode(sample)
    del members["txt"]
    with pytest.raises(BadSample, match=r"a\.tar: sample '0000000' lacks txt; it has .*video\.npy"):
        decode(members, sample.key, "a.tar")


def test_sound_shorter_than_video_is_an_error(sample):
    with pytest.raises(BadSample, match="wav has 4479 samples, 7 frames last 4480"):
        decode(encode(replace(sample, waveform=sample.waveform[:-1])), sample.key, "a.tar")


def test_video_that_is_not_what_json_says_is_an_error(sample):
    with pytest.raises(BadSample, match=r"video.npy is uint8 \[6, 16, 16, 3\], json says uint8 \[7, 16, 16, 3\]"):
        decode(encode(replace(sample, video=sample.video[1:])), sample.key, "a.tar")


def test_pickle_is_never_executed(sample, tmp_path):
    trap = tmp_path / "executed"
    objects = io.BytesIO()
    np.save(objects, np.array([Payload(trap)], dtype=object), allow_pickle=True)
    members = encode(sample)
    for name in ("pkl", "pyd", "pickle", "pth"):
        members[name] = pickle.dumps(Payload(trap))
    decode(members, sample.key, "a.tar")
    for name, payload in (("video.npy", objects.getvalue()), ("face_embedding.npy", pickle.dumps(Payload(trap)))):
        with pytest.raises(BadSample, match=name):
            decode(members | {name: payload}, sample.key, "a.tar")
    assert not trap.exists()
    pickle.loads(members["pkl"])
    assert trap.exists(), "the trap itself must work"


def mp4_of(sample: Sample, sound: bool = True) -> bytes:
    written = io.BytesIO()
    write_mp4(written, sample.video[:], sample.waveform if sound else None)
    return written.getvalue()


def test_other_peoples_shards_of_video_and_caption_are_samples(sample):
    read = decode({"mp4": mp4_of(sample), "txt": b"hello"}, "k", "a.tar")
    assert read.facts == {
        "frames": 7, "fps": 25, "height": 16, "width": 16, "face_box": None, "identity": "", "split": "",
    }  # fmt: skip
    assert read.video.shape == (7, 16, 16, 3)
    assert np.abs(read.video[2:4].astype(int) - sample.video[2:4]).mean() < 6
    assert read.waveform.shape == (7 * 640,)
    assert read.caption == "hello"


def test_mp4_is_kept_as_its_bytes_and_wav_goes_before_its_sound(sample):
    payload = mp4_of(sample)
    quiet = np.full(7 * 640, 3, np.int16)
    read = decode(encode(replace(sample, video=Mp4(payload), waveform=quiet, truth=None)), "k", "a.tar")
    assert encode(read)["mp4"] == payload
    np.testing.assert_array_equal(read.waveform, quiet)
    assert read.facts == sample.facts


def test_silence_is_no_sound(sample):
    assert decode(encode(replace(sample, waveform=None)), "k", "a.tar").waveform is None
    assert decode({"mp4": mp4_of(sample, sound=False), "txt": b""}, "k", "a.tar").waveform is None


def signals(frames: int) -> dict[str, np.ndarray | dict[str, np.ndarray]]:
    rng = np.random.default_rng(0)
    return {
        "text_embeddings": rng.normal(size=(3, 5)).astype(np.float32),
        "audio_features": rng.normal(size=(frames + 4, 2, 6)).astype(np.float32),
        "latents": {"starts": np.array([0, 2]), "latents": rng.normal(size=(2, 2, 4, 3, 1)).astype(np.float32)},
    }


def test_signals_computed_ahead_come_back(sample):
    given = signals(7)
    read = decode(encode(replace(sample, **given)), "k", "a.tar")
    np.testing.assert_array_equal(read.text_embeddings, given["text_embeddings"])
    np.testing.assert_array_equal(read.audio_features, given["audio_features"])
    for name in ("starts", "latents"):
        np.testing.assert_array_equal(read.latents[name], given["latents"][name])


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float32])
def test_signals_of_any_width_are_read(sample, dtype):
    values = torch.randn(3, 5, generator=torch.Generator().manual_seed(0)).to(dtype)
    payload = safetensors.torch.save({"text_embeddings": values})
    read = decode(encode(sample) | {"text_embeddings.safetensors": payload}, "k", "a.tar")
    torch.testing.assert_close(torch.from_numpy(read.text_embeddings).float(), values.float(), rtol=0, atol=0)


def float_wav(value: float) -> bytes:
    written = io.BytesIO()
    soundfile.write(written, np.full(7 * 640, value), 16_000, format="WAV", subtype="FLOAT")
    return written.getvalue()


def npy(array: np.ndarray) -> bytes:
    written = io.BytesIO()
    np.save(written, array)
    return written.getvalue()


def latents(**arrays) -> bytes:
    return safetensors.torch.save({name: torch.zeros(shape) for name, shape in arrays.items()})


FAULTS = {
    "missing member": {"txt": None},
    "undecodable member": {"json": b"[1, 2]"},
    "missing fact": {"json": b"{}"},
    "wrong frame rate": {"json": json.dumps(
        {"frames": 7, "fps": 30, "height": 16, "width": 16, "face_box": [0, 0, 1, 1], "identity": 0, "split": ""}
    ).encode()},
    "wrong size": {"audio_features.npy": npy(np.zeros((10, 2, 6)))},
    "non-finite sound": {"wav": float_wav(np.nan)},
    "undecodable video": {"video.npy": None, "mp4": b"no video"},
}  # fmt: skip


@pytest.mark.parametrize("reason", FAULTS)
def test_each_fault_has_a_reason_to_count_by(sample, reason):
    members = {name: payload for name, payload in (encode(sample) | FAULTS[reason]).items() if payload is not None}
    with pytest.raises(BadSample) as caught:
        decode(members, "k", "a.tar")
    bad = pickle.loads(pickle.dumps(caught.value))  # as it leaves a worker process
    *_, member = FAULTS[reason]
    assert (bad.shard, bad.key, bad.member.split(".")[0], bad.reason) == ("a.tar", "k", member.split(".")[0], reason)
    assert str(bad) == str(caught.value)
    assert str(bad).startswith("a.tar: sample 'k'")


@pytest.mark.parametrize(
    ("member", "payload"),
    [
        ("latents.safetensors", latents(starts=(2,), latents=(3, 2, 4, 3, 1))),
        ("latents.safetensors", latents(starts=(2,), latents=(2, 4, 3, 1))),
        ("latents.safetensors", latents(latents=(2, 2, 4, 3, 1))),
        ("text_embeddings.npy", npy(np.zeros(3))),
        ("wav", float_wav(0.5)[:-4]),
    ],
)
def test_signals_of_another_shape_are_refused(sample, member, payload):
    with pytest.raises(BadSample, match=member.split(".")[0]):
        decode(encode(sample) | {member: payload}, "k", "a.tar")


def test_float_sound_is_rounded_to_16_bits(sample):
    read = decode(encode(sample) | {"wav": float_wav(0.25)}, "k", "a.tar")
    assert (read.waveform.dtype, *np.unique(read.waveform)) == (np.int16, 8192)


@pytest.mark.parametrize("order", ["C", "F"])
@pytest.mark.parametrize("dtype", ["<f4", ">f2", "u1", "?", "<i8"])
@pytest.mark.parametrize("shape", [(), (0, 3), (2, 3, 5)])
def test_arrays_are_read_as_numpy_reads_them(shape, dtype, order):
    array = np.array(np.arange(30)[: math.prod(shape)].reshape(shape), dtype, order=order)
    read = DECODERS["video.npy"][1](npy(array))
    np.testing.assert_array_equal(read, array)
    assert read.dtype == array.dtype


@pytest.mark.parametrize(
    ("payload", "said"),
    [
        (npy(np.zeros(5))[:-1], "too few for float64 [5]"),
        (npy(np.zeros(5)).replace(b"(5,)", b"(-1,)"), "float64 [-1]"),
        (npy(np.zeros(5))[:6] + b"\x02\x00\xff\xff\xff\x7f", "its header claims 2147483659 bytes"),
        (npy(np.zeros(5))[:6] + b"\x03\x00" + bytes(200), "version (3, 0)"),
        (b"\x80\x04c__main__\n", "its header claims"),
        (b"", "magic string"),
    ],
)
def test_arrays_that_are_none_are_refused(sample, payload, said):
    with pytest.raises(BadSample, match=re.escape(said)):
        decode(encode(sample) | {"video.npy": payload}, "k", "a.tar")
