import io
import json
import os
import subprocess
import tarfile

import numpy as np
import pytest
from webdataset import ShardWriter

from datamodules.index import INDEX_FILE, open_index, scan
from datamodules.shards import BadSample, encode, write_shard
from datamodules.synthetic.take import make_take
from hallo3_lightning.errors import UsageError


@pytest.fixture(scope="module")
def samples():
    return [make_take(3, number, frames=5, size=16) for number in range(3)]


def by_us(folder, samples):
    write_shard(folder / "a.tar", samples)


def by_webdataset(folder, samples):
    with ShardWriter(str(folder / "a-%03d.tar"), maxcount=2, encoder=False, verbose=0) as writer:
        for sample in samples:
            writer.write({"__key__": sample.key, **encode(sample)})


def by_gnu_tar(folder, samples):
    members = folder / "members"
    members.mkdir()
    for sample in samples:
        for name, payload in encode(sample).items():
            (members / f"{sample.key}.{name}").write_bytes(payload)
    subprocess.run(["tar", "--sort=name", "-cf", folder / "a.tar", "-C", members, "."], check=True)


@pytest.mark.parametrize("write", [by_us, by_webdataset, by_gnu_tar])
def test_every_writer_gives_the_same_samples(write, tmp_path, samples):
    write(tmp_path, samples)
    index = open_index(tmp_path)
    assert [row.key for row in index.rows] == [sample.key for sample in samples]
    for number, sample in enumerate(samples):
        read = index.read(number)
        np.testing.assert_array_equal(read.video, sample.video)
        np.testing.assert_array_equal(read.waveform, sample.waveform)
        assert read.caption == sample.caption


def test_saved_index_is_the_built_one(tmp_path, samples):
    by_webdataset(tmp_path, samples)
    built = open_index(tmp_path)
    saved_ns = (tmp_path / INDEX_FILE).stat().st_mtime_ns
    assert open_index(tmp_path) == built
    assert (tmp_path / INDEX_FILE).stat().st_mtime_ns == saved_ns


def test_new_bytes_of_the_same_size_change_the_digest(tmp_path, samples):
    write_shard(tmp_path / "a.tar", samples[:1])
    before = open_index(tmp_path)
    other = make_take(4, 0, frames=5, size=16)
    write_shard(tmp_path / "a.tar", [other])
    later_ns = (tmp_path / INDEX_FILE).stat().st_mtime_ns + 1
    os.utime(tmp_path / "a.tar", ns=(later_ns, later_ns))
    after = open_index(tmp_path)
    assert after.digest != before.digest
    np.testing.assert_array_equal(after.read(0).video, other.video)


@pytest.mark.parametrize("exists", [True, False])
def test_folder_without_shards_says_how_to_make_them(tmp_path, exists):
    folder = tmp_path / "heads" / "train"
    if exists:
        folder.mkdir(parents=True)
    with pytest.raises(UsageError, match=f"hallo3 synthesize {folder.parent}"):
        open_index(folder)


@pytest.fixture
def shard(tmp_path, samples):
    """A whole shard, and where the headers of its members lie."""
    write_shard(tmp_path / "a.tar", samples)
    with tarfile.open(tmp_path / "a.tar") as tar:
        return tmp_path / "a.tar", [entry.offset for entry in tar]


@pytest.mark.parametrize("member", [-1, 7])
def test_shard_cut_within_a_member_names_it(shard, member):
    path, headers = shard
    with tarfile.open(path) as tar:
        name = tar.getmembers()[member].name
    path.write_bytes(path.read_bytes()[: headers[member] + 512 + 10])
    with pytest.raises(BadSample, match=rf"a\.tar: ends within {name}; the shard is truncated"):
        scan(path)


def flipped(whole: bytes, header: int) -> bytes:
    return whole[: header + 5] + bytes([whole[header + 5] ^ 1]) + whole[header + 6 :]


def zeroed(whole: bytes, header: int) -> bytes:
    return whole[:header] + bytes(512) + whole[header + 512 :]


def cut_at_a_border(whole: bytes, header: int) -> bytes:
    return whole[:header]


def cut_inside_a_header(whole: bytes, header: int) -> bytes:
    return whole[: header + 100]


def with_another_behind(whole: bytes, header: int) -> bytes:
    return whole + whole


HARMS = [flipped, zeroed, cut_at_a_border, cut_inside_a_header, with_another_behind]


@pytest.mark.parametrize("member", [1, 7, 17])
@pytest.mark.parametrize("harm", HARMS)
def test_no_damage_loses_samples_quietly(shard, harm, member):
    path, headers = shard
    path.write_bytes(harm(path.read_bytes(), headers[member]))
    with pytest.raises(BadSample, match=r"a\.tar: damaged or truncated at byte \d+ of \d+"):
        open_index(path.parent)


@pytest.mark.parametrize(("zeros", "whole"), [(0, False), (512, False), (1023, False), (1024, True), (1536, True)])
def test_a_tar_ends_with_two_blocks_of_zeros_or_more(tmp_path, zeros, whole):
    with tarfile.open(tmp_path / "b.tar", "w") as tar:
        tar.addfile(tarfile.TarInfo("one.txt"))
    (tmp_path / "a.tar").write_bytes((tmp_path / "b.tar").read_bytes()[:512] + bytes(zeros))
    if whole:
        assert scan(tmp_path / "a.tar") == {"one": {"txt": (512, 0)}}
    else:
        with pytest.raises(BadSample, match=f"at byte 512 of {512 + zeros}"):
            scan(tmp_path / "a.tar")


@pytest.mark.parametrize("damage", ["", "{", "[]", "null", "{}", '{"version": 2, "shards": [{}]}', b"\xff\xfe"])
def test_damaged_index_is_built_anew(shard, damage):
    folder = shard[0].parent
    built, saved = open_index(folder), folder / INDEX_FILE
    text = saved.read_text()
    saved.write_bytes(damage if isinstance(damage, bytes) else damage.encode())
    assert open_index(folder) == built
    assert saved.read_text() == text


def test_index_without_its_samples_is_built_anew(shard):
    folder = shard[0].parent
    built, saved = open_index(folder), folder / INDEX_FILE
    table = json.loads(saved.read_text())
    del table["shards"][0]["samples"]
    saved.write_text(json.dumps(table))
    assert open_index(folder) == built


def test_file_that_is_no_tar_is_named(tmp_path):
    (tmp_path / "a.tar").write_bytes(b"<html>404 Not Found</html>" * 100)
    with pytest.raises(BadSample, match=r"a\.tar: not a whole plain tar"):
        open_index(tmp_path)


def test_only_plain_files_are_indexed_and_no_name_becomes_a_path(tmp_path):
    outside = tmp_path / "outside.txt"
    with tarfile.open(tmp_path / "a.tar", "w") as tar:
        link = tarfile.TarInfo("linked.txt")
        link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
        tar.addfile(link)
        tar.addfile(tarfile.TarInfo(".hidden"))
        climbing = tarfile.TarInfo("../outside.txt")
        climbing.size = 3
        tar.addfile(climbing, io.BytesIO(b"abc"))
    assert set(scan(tmp_path / "a.tar")) == {"../outside"}
    assert not outside.exists()


def test_member_given_twice_is_an_error(tmp_path):
    with tarfile.open(tmp_path / "a.tar", "w") as tar:
        for _ in range(2):
            tar.addfile(tarfile.TarInfo("one.txt"))
    with pytest.raises(BadSample, match=r"a\.tar: sample 'one' has member txt twice"):
        scan(tmp_path / "a.tar")
