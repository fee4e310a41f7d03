import json
import os
import pickle
import shutil
import subprocess
import sys
import zlib
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from tars import entry, write_tar
from tars import sample as tiny_sample
from torch.utils.data import DataLoader, Dataset
from webdataset import ShardWriter

from datamodules import index_file
from datamodules.index import build_index, open_index
from datamodules.index_file import (
    INDEX_FILE,
    Contents,
    NotAnIndex,
    Shard,
    check,
    mapped,
    packed,
    parsed,
    problems_of,
    save,
)
from datamodules.scan import Problem
from datamodules.shards import BadSample, encode, write_shard
from datamodules.stamps import STAMPS_FILE
from datamodules.stores import LocalStore
from datamodules.synthetic.take import make_take
from hallo3_lightning.cli import main
from hallo3_lightning.errors import UsageError

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def samples():
    return [make_take(3, number, frames=5, size=16) for number in range(3)]


def by_us(folder, samples):
    write_shard(folder / "a.tar", samples)


def by_webdataset(folder, samples):
    with ShardWriter(str(folder / "a-%03d.tar"), maxcount=2, encoder=False, verbose=0) as writer:
        for sample in samples:
            writer.write({"__key__": sample.key, **encode(sample)})


def by_tar(form):
    def write(folder, samples):
        members = folder / "members"
        members.mkdir()
        for sample in samples:
            for name, payload in encode(sample).items():
                (members / f"{sample.key}.{name}").write_bytes(payload)
        command = ["tar", f"--format={form}", "--sort=name", "-cf", folder / "a.tar", "-C", members, "."]
        subprocess.run(command, check=True)

    write.__name__ = f"by_tar_{form}"
    return write


@pytest.mark.parametrize("write", [by_us, by_webdataset, by_tar("gnu"), by_tar("posix"), by_tar("ustar")])
def test_every_writer_gives_the_same_samples(write, tmp_path, samples):
    write(tmp_path, samples)
    index = open_index(tmp_path)
    assert index.problems == ()
    assert [index.key(number) for number in range(len(index))] == [sample.key for sample in samples]
    for number, sample in enumerate(samples):
        read = index.read(number)
        np.testing.assert_array_equal(read.video, sample.video)
        np.testing.assert_array_equal(read.waveform, sample.waveform)
        assert read.caption == sample.caption


def test_numbers_run_through_the_shards_in_order_of_name(tmp_path):
    for name, keys in {"c": "uvw", "a": "xy", "b": ""}.items():
        write_tar(tmp_path / f"{name}.tar", *(tiny_sample(key) for key in keys))
    index = open_index(tmp_path)
    assert "".join(index.key(number) for number in range(len(index))) == "xyuvw"
    assert [index.shard(number) for number in range(5)] == ["a.tar"] * 2 + ["c.tar"] * 3
    assert index.samples_per_shard.tolist() == [2, 0, 3]
    for number in (5, -1):
        with pytest.raises(IndexError, match=f"no sample {number}, there are 5"):
            index.key(number)


def test_members_are_read_by_name(tmp_path):
    members = {"json": b"{}", "video.npy": b"frames", "txt": b"t"}
    one, two = members | {"wav": b"abcd"}, members | {"pkl": b"never"}
    write_tar(tmp_path / "a.tar", tiny_sample("one", one), tiny_sample("two", two))
    index = open_index(tmp_path)
    assert index.members(0) == ("json", "txt", "video.npy", "wav")
    assert index.sizes(1) == {"json": 2, "pkl": 5, "txt": 1, "video.npy": 6}
    assert index.read_members(0) == one
    assert index.read_members(1) == members, "what has no decoder is not read unasked"
    assert index.read_many([1, 0, 1], ["txt", "wav"]) == [{"txt": b"t"}, {"txt": b"t", "wav": b"abcd"}, {"txt": b"t"}]
    assert index.read_many([]) == []


def test_saved_index_is_the_built_one(tmp_path, samples):
    by_webdataset(tmp_path, samples)
    built = open_index(tmp_path)
    saved, saved_ns = (tmp_path / INDEX_FILE).read_bytes(), (tmp_path / INDEX_FILE).stat().st_mtime_ns
    assert open_index(tmp_path).digest == built.digest
    assert (tmp_path / INDEX_FILE).stat().st_mtime_ns == saved_ns
    (tmp_path / INDEX_FILE).unlink()
    build_index(tmp_path, workers=2)
    assert (tmp_path / INDEX_FILE).read_bytes() == saved, "the same from two processes"
    assert list(tmp_path.glob(".index-*")) == []


def test_new_bytes_of_the_same_size_change_the_digest(tmp_path, samples):
    write_shard(tmp_path / "a.tar", samples[:1])
    before = open_index(tmp_path)
    other = make_take(4, 0, frames=5, size=16)
    write_shard(tmp_path / "a.tar", [other])
    later(tmp_path / "a.tar")
    after = open_index(tmp_path)
    assert after.digest != before.digest
    np.testing.assert_array_equal(after.read(0).video, other.video)


def test_shard_that_was_only_touched_keeps_the_index(tmp_path, samples):
    write_shard(tmp_path / "a.tar", samples)
    open_index(tmp_path)
    saved_ns = (tmp_path / INDEX_FILE).stat().st_mtime_ns
    later(tmp_path / "a.tar")
    open_index(tmp_path)
    assert (tmp_path / INDEX_FILE).stat().st_mtime_ns == saved_ns


def exchanged(path, samples):
    """Another shard of the same size moved there with a time before its own, as by cp -p, rsync -t or tar x."""
    size = path.stat().st_size
    write_shard(path, samples)
    assert path.stat().st_size == size
    os.utime(path, ns=(7, 7))


def test_older_shard_of_the_same_size_is_noticed(tmp_path, samples):
    write_shard(tmp_path / "a.tar", samples[:1])
    before = open_index(tmp_path)
    other = make_take(4, 0, frames=5, size=16)
    exchanged(tmp_path / "a.tar", [other])
    after = open_index(tmp_path)
    assert after.digest != before.digest
    np.testing.assert_array_equal(after.read(0).video, other.video)


def test_shard_that_was_only_touched_is_read_once_more(tmp_path, samples, monkeypatch):
    write_shard(tmp_path / "a.tar", samples)
    before = open_index(tmp_path).digest
    os.utime(tmp_path / "a.tar", ns=(7, 7))
    assert open_index(tmp_path).digest == before
    monkeypatch.delattr(LocalStore, "read")
    assert open_index(tmp_path).digest == before


@pytest.mark.parametrize("stamps", [None, "", "[]", '{"digest": 1, "shards": {}}', '{"shards": 3}'])
def test_without_a_note_of_times_only_newer_shards_are_read_again(tmp_path, samples, monkeypatch, stamps):
    write_shard(tmp_path / "a.tar", samples)
    before = open_index(tmp_path).digest
    (tmp_path / STAMPS_FILE).unlink() if stamps is None else (tmp_path / STAMPS_FILE).write_text(stamps)
    monkeypatch.delattr(LocalStore, "read")
    assert open_index(tmp_path).digest == before
    later(tmp_path / "a.tar")
    (tmp_path / STAMPS_FILE).unlink()
    with pytest.raises(AttributeError, match="read"):
        open_index(tmp_path)


def test_opening_reads_no_shard(tmp_path, monkeypatch):
    write_tar(tmp_path / "a.tar", tiny_sample("x"))
    open_index(tmp_path)
    monkeypatch.delattr(LocalStore, "read")
    assert open_index(tmp_path).key(0) == "x"


def later(path):
    later_ns = (path.parent / INDEX_FILE).stat().st_mtime_ns + 1
    os.utime(path, ns=(later_ns, later_ns))


@pytest.mark.parametrize("change", ["longer", "gone", "new"])
def test_changed_folder_is_indexed_anew(tmp_path, change):
    for name in "ab":
        write_tar(tmp_path / f"{name}.tar", tiny_sample(name))
    open_index(tmp_path)
    if change == "longer":
        write_tar(tmp_path / "b.tar", tiny_sample("b"), tiny_sample("c"))
        os.utime(tmp_path / "b.tar", ns=(0, 0))  # as a copy that keeps its time
    elif change == "new":
        write_tar(tmp_path / "c.tar", tiny_sample("c"))
    else:
        (tmp_path / "b.tar").unlink()
    keys = {"longer": "abc", "gone": "a", "new": "abc"}[change]
    index = open_index(tmp_path)
    assert "".join(index.key(number) for number in range(len(index))) == keys


@pytest.mark.parametrize("exists", [True, False])
def test_folder_without_shards_says_how_to_make_them(tmp_path, exists):
    folder = tmp_path / "heads" / "train"
    if exists:
        folder.mkdir(parents=True)
    with pytest.raises(UsageError, match=f"hallo3 synthesize {folder.parent}"):
        open_index(folder)


@pytest.mark.parametrize("place", ["", "a.tar.gz"])
def test_compressed_shards_are_refused(tmp_path, place):
    (tmp_path / "a.tar.gz").write_bytes(b"\x1f\x8b")
    with pytest.raises(UsageError, match=r"compressed shards cannot be read by byte range; decompress"):
        open_index(tmp_path / place)


def test_folder_that_is_not_ours_to_write_is_indexed_in_memory(tmp_path, monkeypatch):
    write_tar(tmp_path / "a.tar", tiny_sample("x"))
    monkeypatch.setattr(os, "access", lambda *_: False)  # to root, as tests may run, everything is writable
    index = open_index(tmp_path)
    assert not (tmp_path / INDEX_FILE).exists()
    assert pickle.loads(pickle.dumps(index)).read_members(0)["txt"] == b"t"


def test_same_key_in_two_shards_is_kept_twice_and_told_apart(tmp_path):
    write_tar(tmp_path / "a.tar", tiny_sample("x"), tiny_sample("y"))
    write_tar(tmp_path / "b.tar", tiny_sample("x"))
    index = open_index(tmp_path)
    assert [index.key(number) for number in range(3)] == ["x@a.tar", "y", "x@b.tar"]
    assert index.repeated_keys == 2
    assert index.problems == ()


def test_problems_are_left_out_listed_and_saved(tmp_path):
    write_tar(tmp_path / "a.tar", tiny_sample("x"), entry("y.txt", b"alone"))
    (tmp_path / "b.tar").write_bytes(b"")
    for index in (open_index(tmp_path), open_index(tmp_path)):
        assert [(problem.shard, problem.key) for problem in index.problems] == [("a.tar", "y"), ("b.tar", "")]
        assert len(index) == 1
    with pytest.raises(BadSample, match=r"2 problems; the first: a\.tar 'y': missing member"):
        open_index(tmp_path, strict=True)


def test_folder_of_nothing_but_problems_says_so(tmp_path):
    (tmp_path / "a.tar").write_bytes(b"")
    with pytest.raises(UsageError, match=r"no sample can be read from its 1 shards; the first problem: a\.tar: empty"):
        open_index(tmp_path)


def test_verifying_leaves_out_what_cannot_be_decoded_for_good(tmp_path, samples):
    broken = encode(samples[1]) | {"video.npy": b"nonsense"}
    whole = [tiny_sample(sample.key, encode(sample)) for sample in (samples[0], samples[2])]
    write_tar(tmp_path / "a.tar", whole[0], tiny_sample(samples[1].key, broken), whole[1])
    unverified = open_index(tmp_path)
    verified = build_index(tmp_path, verify=True, workers=2)
    assert (len(unverified), len(verified)) == (3, 2)
    assert verified.problems == (Problem("a.tar", samples[1].key, "undecodable member: video.npy"),)
    assert verified.digest != unverified.digest
    later(tmp_path / "a.tar")
    again = open_index(tmp_path)
    assert (again.verified, len(again), again.digest) == (True, 2, verified.digest)


class Keys(Dataset):
    """The key and the caption at a number."""

    def __init__(self, index):
        self.index = index

    def __len__(self):
        return len(self.index)

    def __getitem__(self, number):
        return self.index.key(number), self.index.read_members(number)["txt"]


@pytest.mark.parametrize("start", ["fork", "spawn"])
def test_workers_map_the_same_file(tmp_path, start):
    write_tar(tmp_path / "a.tar", *(tiny_sample(f"{number:04d}") for number in range(7)))
    index = open_index(tmp_path)
    assert len(pickle.dumps(index)) < 1000
    loader = DataLoader(Keys(index), batch_size=None, num_workers=2, multiprocessing_context=start)
    assert list(loader) == [[f"{number:04d}", b"t"] for number in range(7)]


def test_worker_that_finds_another_index_says_so(tmp_path):
    write_tar(tmp_path / "a.tar", tiny_sample("x"))
    carried = pickle.dumps(open_index(tmp_path))
    write_tar(tmp_path / "a.tar", tiny_sample("y"), tiny_sample("z"))
    open_index(tmp_path)
    with pytest.raises(UsageError, match="its index was written anew while it was read"):
        pickle.loads(carried)


def test_command_indexes_both_splits_and_ends_with_0(tmp_path, capsys):
    for split in ("train", "held_out"):
        (tmp_path / split).mkdir()
        write_tar(tmp_path / split / "a.tar", tiny_sample(split))
    assert main(["index", str(tmp_path), "--workers", "1"]) == 0
    said = capsys.readouterr().out
    digests = [open_index(tmp_path / split).digest for split in ("train", "held_out")]
    assert all(digest in said for digest in digests)
    assert main(["index", str(tmp_path / "train"), str(tmp_path / "held_out"), "--workers", "1"]) == 0
    assert capsys.readouterr().out == said


MISTAKES = {
    "{folder}/a.tar": "is one shard; an index is of a folder: hallo3 index",
    "{folder}/nowhere": "does not exist; make procedural ones with",
    "pipe:touch {folder}/x": "not a place that shards are read from",
    "{folder} --workers 0": "--workers is 0; expected 1 or more",
    "http://a/b http://a/c": "one URL at a time",
}


@pytest.mark.parametrize("typed", MISTAKES)
def test_mistake_at_the_command_is_one_sentence(tmp_path, typed, capsys):
    write_tar(tmp_path / "a.tar", tiny_sample("x"))
    arguments = [part.format(folder=tmp_path) for part in (typed.split(" ") if "touch" not in typed else [typed])]
    assert main(["index", *arguments]) == 2
    said = capsys.readouterr().err
    assert MISTAKES[typed] in said
    assert said.count("\n") == 1
    assert [path.name for path in tmp_path.iterdir()] == ["a.tar"]


@pytest.fixture(scope="module")
def million(tmp_path_factory):
    """An index of 10^6 samples of 6 members, and the folder of shards that it says it is of: they are holes."""
    folder, rows, per_shard = tmp_path_factory.mktemp("million"), 10**6, 1000
    shards = tuple(Shard(f"{number:04d}.tar", per_shard * 4096, "0" * 32, per_shard) for number in range(1000))
    sizes = np.full((rows, 6), 512)
    offsets = (np.arange(rows) % per_shard)[:, None] * 4096 + np.arange(6) * 512
    contents = replace(
        tiny_contents(),
        shards=shards,
        members=("face_embedding.npy", "json", "truth.safetensors", "txt", "video.npy", "wav"),
        table=np.stack([offsets, sizes], axis=-1),
        key_ends=np.arange(rows + 1) * 10,
        keys=np.frombuffer(b"".join(b"%010d" % number for number in range(rows)), np.uint8),
    )
    for shard in shards:
        os.truncate(os.open(folder / shard.name, os.O_CREAT | os.O_WRONLY), shard.bytes)
    save(folder / INDEX_FILE, contents)
    yield folder
    shutil.rmtree(folder)


OPENING = """
import pickle, resource, sys, time
from pathlib import Path
from datamodules.index import open_index

def anonymous():
    rollup = Path("/proc/self/smaps_rollup").read_text()
    return int(next(line for line in rollup.splitlines() if line.startswith("Anonymous:")).split()[1])

before, begin = anonymous(), time.process_time()
index = open_index(sys.argv[1])
took = time.process_time() - begin
keys = [index.key(number) for number in range(0, 10**6, 999)]
middle = anonymous()
workers = [pickle.loads(pickle.dumps(index)) for _ in range(8)]
print(took, index.key(123456), index.shard(999999), middle - before, anonymous() - middle)
"""


@pytest.mark.skipif(not Path("/proc/self/smaps_rollup").exists(), reason="needs Linux's account of memory")
def test_a_million_samples_open_at_once_and_cost_a_worker_nothing(million):
    """Measured as CPU time, as the machine may be shared."""
    command = [sys.executable, "-c", OPENING, str(million)]
    said = subprocess.run(command, check=True, capture_output=True, text=True, cwd=ROOT).stdout.split()
    took_s, key, shard, opened_kib, copies_kib = float(said[0]), said[1], said[2], int(said[3]), int(said[4])
    assert (key, shard) == ("0000123456", "0999.tar")
    assert took_s < 0.5
    assert opened_kib < 16 << 10, "the file itself has 117 MB"
    assert copies_kib < 16 << 10, "eight copies, each with the names of 1000 shards"


def tiny_contents(rows=5, members=3):
    """Samples of one shard of 100 bytes."""
    table = np.random.default_rng(0).integers(0, 50, (rows, members, 2))
    keys = [f"key-{number}".encode() for number in range(rows)]
    return Contents(
        shards=(Shard("a.tar", 100, "0" * 32, rows),),
        members=("json", "txt", "wav")[:members],
        table=table,
        key_ends=np.cumsum([0, *map(len, keys)]),
        keys=np.frombuffer(b"".join(keys), np.uint8),
        problems=(Problem("a.tar", "x", "why"),),
        digest="0" * 16,
    )


def test_file_holds_what_was_packed():
    contents = tiny_contents()
    whole = b"".join(packed(contents))
    check(whole)
    read = parsed(whole)
    assert (read.shards, read.members, problems_of(whole)) == (contents.shards, contents.members, contents.problems)
    np.testing.assert_array_equal(read.table, contents.table)
    assert [read.key(number) for number in range(5)] == [f"key-{number}" for number in range(5)]


def test_every_flipped_byte_and_every_cut_is_seen():
    whole = b"".join(packed(tiny_contents()))
    for place in range(len(whole)):
        with pytest.raises(NotAnIndex):
            check(whole[:place] + bytes([whole[place] ^ 0x40]) + whole[place + 1 :])
        with pytest.raises(NotAnIndex):
            check(whole[:place])
    with pytest.raises(NotAnIndex):
        check(whole + b"x")


def without(names, header):
    return {name: value for name, value in header.items() if name not in names}


LIES = {
    "another version": lambda header: header | {"version": 2},
    "no shards": lambda header: without(["shards"], header),
    "shards elsewhere": lambda header: shard_with(header, name="../../etc/passwd.tar"),
    "no tar": lambda header: shard_with(header, name="passwd"),
    "fewer samples": lambda header: shard_with(header, samples=4),
    "more samples": lambda header: shard_with(header, samples=2**40),
    "negative samples": lambda header: shard_with(header, samples=-5),
    "samples are text": lambda header: shard_with(header, samples="5"),
    "smaller shard": lambda header: shard_with(header, bytes=20),
    "a member twice": lambda header: header | {"members": ["json", "json", "wav"]},
    "a member more": lambda header: header | {"members": ["json", "txt", "wav", "mp4"]},
    "problems of another shape": lambda header: header | {"problems": [{"shard": "a.tar"}]},
    "a list": lambda header: [header],
    "null": lambda header: None,
}


def shard_with(header, **changes):
    return header | {"shards": [header["shards"][0] | changes]}


@pytest.mark.parametrize("lie", LIES)
def test_header_that_lies_is_refused(lie):
    with pytest.raises(NotAnIndex):
        check(with_header(b"".join(packed(tiny_contents())), LIES[lie]))


def with_header(whole, change):
    """The file with another header, its checksum and all."""
    _, length, _, body = index_file._PREAMBLE.unpack_from(whole)
    start = index_file._PREAMBLE.size
    header = json.dumps(change(json.loads(whole[start : start + length]))).encode()
    preamble = index_file._PREAMBLE.pack(b"HALLO3WX", len(header), zlib.crc32(header), body)
    return preamble + header + whole[start + length :]


def test_header_of_a_thousand_brackets_is_refused():
    header = b"[" * 100_000
    with pytest.raises(NotAnIndex, match="no JSON"):
        check(index_file._PREAMBLE.pack(b"HALLO3WX", len(header), zlib.crc32(header), 0) + header)


OUTSIDE = {
    "behind the end": (60, 41),
    "before the start": (-60, 50),
    "wraps around": (2**63 - 1, 2**63 - 1),
    "negative size": (60, -2),
    "half absent": (-1, 5),
}


@pytest.mark.parametrize("place", OUTSIDE)
def test_member_outside_its_shard_is_refused(place):
    contents = tiny_contents()
    table = contents.table.copy()
    table[3, 1] = OUTSIDE[place]
    with pytest.raises(NotAnIndex, match="outside its shard"):
        check(b"".join(packed(replace(contents, table=table))))


@pytest.mark.parametrize("damage", [b"", b"x", b"\0" * 5000, b'{"version": 2}'])
def test_damaged_index_is_built_anew(tmp_path, damage):
    write_tar(tmp_path / "a.tar", tiny_sample("x"))
    open_index(tmp_path)
    saved = (tmp_path / INDEX_FILE).read_bytes()
    (tmp_path / INDEX_FILE).write_bytes(damage)
    assert open_index(tmp_path).key(0) == "x"
    assert (tmp_path / INDEX_FILE).read_bytes() == saved


def test_saving_again_leaves_the_mapped_one_alone(tmp_path):
    save(tmp_path / "a.wdx", tiny_contents())
    before = parsed(mapped(tmp_path / "a.wdx"))
    save(tmp_path / "a.wdx", tiny_contents(rows=2))
    assert before.key(4) == "key-4"
    assert len(parsed(mapped(tmp_path / "a.wdx")).table) == 2
