import io
import pickle
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from datamodules.shards import BadSample, decode, encode, write_shard
from datamodules.synthetic.take import make_take


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
