"""Each content that no clip can be cut from is a bad sample with a reason, whatever its types."""

import io
import json
import struct
from dataclasses import replace

import numpy as np
import pytest
import safetensors.numpy

from datamodules.bad_sample import BadSample
from datamodules.faults import not_finite
from datamodules.shards import decode, encode
from datamodules.synthetic.take import make_take

FRAMES = 9


@pytest.fixture(scope="module")
def take():
    """Of 16 x 16 pixels, with all signals; latents of one clip of 5 frames."""
    return replace(
        make_take(1, 0, frames=FRAMES, size=16),
        text_embeddings=np.zeros((3, 5), np.float32),
        audio_features=np.zeros((FRAMES + 4, 2, 7), np.float32),
        latents={"starts": np.array([4]), "latents": np.zeros((1, 2, 3, 4, 6), np.float32)},
    )


def refused(take, **members) -> BadSample:
    with pytest.raises(BadSample, match="write the shard again") as caught:
        decode(encode(take) | {name.replace("__", "."): payload for name, payload in members.items()}, "k", "s.tar")
    assert caught.value.shard == "s.tar"
    assert caught.value.key == "k"
    return caught.value


def npy(array) -> bytes:
    file = io.BytesIO()
    np.save(file, array, allow_pickle=False)
    return file.getvalue()


def test_the_take_itself_has_no_fault(take):
    assert decode(encode(take), "k", "s.tar").caption == take.caption


@pytest.mark.parametrize(
    "box",
    [
        "abcd", [1, 2], [1, 2, 3, "x"], [1.5, 2.0, 3.0, 4.0], {"a": 1}, 5, True, [], [[1], 2, 3, 4], [-5, 0, 9, 9], [0, 0, 17, 9],
        [float("inf"), 0, 1, 1], [None] * 4, [8, 8, 2, 2], [3, 3, 3, 9], [10**30, 0, 10**31, 5], [True, True, 3, 3],
    ],
)  # fmt: skip
def test_face_box_is_four_whole_numbers_within_the_picture(take, box):
    error = refused(take, json=json.dumps({**take.facts, "face_box": box}).encode())
    assert (error.member, error.reason) == ("json", "wrong fact")


@pytest.mark.parametrize("name", ["frames", "height", "width"])
@pytest.mark.parametrize("value", [9.0, 16.0, "9", None, True, -9, 0, float("nan"), [9]])
def test_sizes_are_whole_numbers(take, name, value):
    error = refused(take, json=json.dumps({**take.facts, name: value}).encode())
    assert (error.member, error.reason) == ("json", "wrong fact")
    assert f"json says {name} is" in str(error)


@pytest.mark.parametrize(
    "array",
    [
        np.float32(3), np.ones((2, 8)), np.ones(0), np.ones(16, np.complex64), np.array(["abc"] * 16), np.zeros(16, "M8[s]"),
        np.zeros(16, [("a", "f4"), ("b", "f4")]), np.zeros(16, "V4"),
    ],
    ids=str,
)  # fmt: skip
@pytest.mark.parametrize("member", ["face_embedding.npy", "text_embeddings.npy", "audio_features.npy"])
def test_signals_are_real_numbers_of_their_number_of_axes(take, member, array):
    if member == "text_embeddings.npy" and array.ndim == 2:
        array = array[0]
    assert refused(take, **{member: npy(array)}).reason == "wrong size"


@pytest.mark.parametrize(
    ("starts", "shape", "reason"),
    [
        (np.zeros(0, np.int64), (0, 2, 3, 4, 6), "wrong size"),
        (np.array([np.nan]), (1, 2, 3, 4, 6), "wrong size"),
        (np.array([0, 1]), (1, 2, 3, 4, 6), "wrong size"),
        (np.array([-1]), (1, 2, 3, 4, 6), "wrong fact"),
        (np.array([5]), (1, 2, 3, 4, 6), "wrong fact"),
        (np.array([10**12]), (1, 2, 3, 4, 6), "wrong fact"),
    ],
)
def test_latents_begin_where_their_clip_fits_the_take(take, starts, shape, reason):
    latents = safetensors.numpy.save({"starts": starts, "latents": np.zeros(shape, np.float32)})
    assert refused(take, latents__safetensors=latents).reason == reason


@pytest.mark.parametrize("track", [np.array(1, np.float32), np.zeros(FRAMES - 1, np.float32)])
def test_truth_has_a_number_for_each_frame(take, track):
    error = refused(take, truth__safetensors=safetensors.numpy.save({"yaw": track}))
    assert (error.member, error.reason) == ("truth.safetensors", "wrong size")


@pytest.mark.parametrize("header", ["(" * 9000, "-" * 9000 + "1", "{'descr':'<f4'\0}", "[" * 200])
def test_headers_that_are_no_python_are_undecodable(take, header):
    payload = b"\x93NUMPY\x01\x00" + struct.pack("<H", len(header) + 1) + header.encode() + b"\n"
    assert refused(take, face_embedding__npy=payload).reason == "undecodable member"


@pytest.mark.parametrize("name", ["face_embedding", "text_embeddings", "audio_features", "latents"])
def test_numbers_past_single_precision_are_not_finite(take, name):
    value = getattr(take, name)
    huge = (
        {**value, "latents": value["latents"].astype(np.float64) + 1e300}
        if name == "latents"
        else value.astype(np.float64) + 1e300
    )
    ((_, reason, _),) = not_finite(replace(take, **{name: huge}))
    assert reason == f"non-finite {name}"
    assert not list(not_finite(take))
