import io
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


def test_truncated_shard_is_named(tmp_path, samples):
    write_shard(tmp_path / "a.tar", samples)
    whole = (tmp_path / "a.tar").read_bytes()
    last_offset, last_size = max(scan(tmp_path / "a.tar")[samples[-1].key].values())
    (tmp_path / "a.tar").write_bytes(whole[: last_offset + last_size // 2])
    with pytest.raises(BadSample, match=r"a\.tar"):
        open_index(tmp_path)


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
