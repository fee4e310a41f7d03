"""Shards that are broken or mean harm: each fault is named, none stops the others' samples, none is ever executed."""

import io
import os
import pickle
import re
import subprocess
import sys
import tarfile
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import soundfile
from tars import SMALLEST, entry, sample, write_tar

from datamodules.index import INDEX_FILE, build_index, open_index, saved_index
from datamodules.scan import scan
from datamodules.shards import BadSample, encode, write_shard
from datamodules.stores import LocalStore
from datamodules.synthetic.take import make_take
from hallo3_lightning.cli import main
from hallo3_lightning.errors import UsageError

ROOT = Path(__file__).parents[2]


class Payload:
    """Touches a file when it is unpickled."""

    def __init__(self, trap: Path) -> None:
        self.trap = trap

    def __reduce__(self):
        return Path.touch, (self.trap,)


def npy(array, allow_pickle=False) -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, array, allow_pickle=allow_pickle)
    return buffer.getvalue()


def wav(waveform, subtype) -> bytes:
    buffer = io.BytesIO()
    soundfile.write(buffer, waveform, 16_000, format="WAV", subtype=subtype)
    return buffer.getvalue()


def claiming(shape) -> bytes:
    """A .npy header of uint8 of that shape, with nothing behind it."""
    header = f"{{'descr': '|u1', 'fortran_order': False, 'shape': {shape}, }}"
    header += " " * (-(11 + len(header)) % 64) + "\n"
    return b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little") + header.encode()


@pytest.fixture(scope="module")
def takes():
    return [make_take(5, number, frames=5, size=16) for number in range(3)]


def structure_faults(members):
    """Fault -> entries that stand between two whole samples, whether the walk can go on behind them, and the words."""
    lacking = {name: payload for name, payload in members.items() if name != "video.npy"}
    link = {"linkname": "/etc/passwd"}
    return {
        "missing_member": ([sample("bad", lacking)], True, "missing member: video.npy or mp4"),
        "member_twice": ([sample("bad", members), entry("bad.txt", b"again")], True, "member txt twice"),
        "duplicate_key": ([sample("bad", members)] * 2, True, "or two samples of this key"),
        "hard_link": ([sample("bad", lacking), entry("bad.video.npy", type=b"1", **link)], True, "is a hard link"),
        "symlink": ([sample("bad", lacking), entry("bad.video.npy", type=b"2", **link)], True, "is a symbolic link"),
        "device": ([sample("bad", lacking), entry("bad.video.npy", type=b"3")], True, "is a device"),
        "sparse": ([sample("bad", lacking), entry("bad.video.npy", type=b"S")], True, "is a sparse file"),
        "climbing_name": ([sample("../bad", members)], True, "name that leaves its folder"),
        "absolute_name": ([sample("/tmp/bad", members)], True, "name that leaves its folder"),
        "not_utf8": ([sample("bad\udcff", members)], True, "not UTF-8"),
        "escape_sequence": ([sample("\x1b]0;bad\x07", members)], True, "control characters"),
        "claims_2_40_bytes": ([entry("bad.video.npy", size=2**40)], False, "claims bytes up to 10995116"),
        "broken_header": ([b"x" * 512], False, "damaged or truncated at byte"),
        "zeroed_header": ([bytes(512) + b"x" * 512], False, "damaged or truncated at byte"),
    }


@pytest.fixture(scope="module")
def corpus(tmp_path_factory, takes):
    """A shard of each structure fault, and the words that each must be named with."""
    folder, before, after = tmp_path_factory.mktemp("corpus"), takes[0], takes[1]
    faults = structure_faults(encode(takes[2]))
    for fault, (entries, _, _) in faults.items():
        first, last = (sample(f"{fault}/{name}", encode(take)) for name, take in (("before", before), ("after", after)))
        write_tar(folder / f"{fault}.tar", first, *entries, last)
    whole = sample("truncated/before", encode(before)) + sample("truncated/bad", encode(takes[2]))
    (folder / "truncated.tar").write_bytes(whole[:-2000])
    (folder / "zero_bytes.tar").write_bytes(b"")
    (folder / "compressed.tar").write_bytes(b"\x1f\x8b\x08" + bytes(600))
    words = {fault: words for fault, (_, _, words) in faults.items()}
    return folder, words | {"truncated": "truncated", "zero_bytes": "empty file", "compressed": "compressed with gzip"}


def test_every_structure_fault_is_named_and_the_samples_around_it_are_read(corpus, takes):
    folder, words = corpus
    index = open_index(folder)
    for fault, said in words.items():
        reasons = [problem.reason for problem in index.problems if problem.shard == f"{fault}.tar"]
        assert any(said in reason for reason in reasons), (fault, reasons)
    keys = {index.key(number): number for number in range(len(index))}
    assert all(re.fullmatch(r"\w+/(before|after)", key) for key in keys)
    for fault, (_, goes_on, _) in structure_faults(SMALLEST).items():
        assert (f"{fault}/after" in keys) is goes_on, fault
        # what stands right before damage is not trusted; before a member that is cut off, it is whole
        assert (f"{fault}/before" in keys) is (goes_on or fault == "claims_2_40_bytes"), fault
    for key, number in keys.items():
        expected = takes[0] if key.endswith("before") else takes[1]
        np.testing.assert_array_equal(index.read(number).video, expected.video)


def test_strict_stops_at_the_first(corpus):
    with pytest.raises(BadSample, match=r"problems; the first: absolute_name\.tar '/tmp/bad': name that leaves"):
        open_index(corpus[0], strict=True)


def test_command_lists_them_and_says_so_by_its_status(corpus, capsys):
    folder, words = corpus
    (folder / INDEX_FILE).unlink(missing_ok=True)
    assert main(["index", str(folder), "--strict", "--workers", "1"]) == 1
    assert not (folder / INDEX_FILE).exists()
    assert "no index was written" in capsys.readouterr().out
    assert main(["index", str(folder), "--workers", "1"]) == 1
    said = capsys.readouterr().out
    assert all(f"{fault}.tar" in said for fault in words)
    assert "\x1b" not in said, "no name reaches the terminal as a command"
    assert (folder / INDEX_FILE).exists()


def content_faults(take, trap):
    """Fault -> members of a sample that is whole as a tar, and the words."""
    members = encode(take)
    loud = np.full(take.waveform.shape, np.nan, np.float32)
    return {
        "pickled_npy": (members | {"video.npy": npy(np.array([Payload(trap)], object), True)}, "undecodable member"),
        "pickled_embedding": (members | {"face_embedding.npy": pickle.dumps(Payload(trap))}, "undecodable member"),
        "broken_safetensors": (members | {"truth.safetensors": b"\xff" * 80}, "undecodable member: truth.safetensors"),
        "endless_safetensors": (members | {"truth.safetensors": b"\xff" * 7 + b"\x00" * 9}, "undecodable member"),
        "nan_sound": (members | {"wav": wav(loud, "FLOAT")}, "non-finite sound"),
        "short_sound": (members | {"wav": wav(take.waveform[:-7], "PCM_16")}, "wrong size: wav"),
        "claims_2_40_pixels": (members | {"video.npy": claiming((2**40,))}, "undecodable member: video.npy"),
        "json_is_no_json": (members | {"json": b"__import__('os').system('touch x')"}, "undecodable member: json"),
        "json_without_facts": (members | {"json": b"{}"}, "missing fact: json"),
        "nested_json": (members | {"json": b"[" * 100_000}, "undecodable member: json"),
        "caption_is_no_text": (members | {"txt": b"\xff\xfe"}, "undecodable member: txt"),
        "frames_are_missing": (encode(replace(take, video=take.video[1:])), "wrong size: video.npy"),
    }


def traps(trap):
    """Members that other readers execute."""
    payload = pickle.dumps(Payload(trap))
    return dict.fromkeys(("pkl", "pyd", "pickle", "pth", "pt", "ckpt", "bin"), payload) | {
        "py": f"open({str(trap)!r}, 'w')".encode(),
        "sh": f"touch {trap}".encode(),
        "yaml": f"!!python/object/apply:os.system ['touch {trap}']".encode(),
    }


@pytest.fixture
def armed(tmp_path, takes):
    """A folder with every content fault and every trap, and the file that must not be there afterwards."""
    folder, trap = tmp_path / f"$(touch {tmp_path.name})", tmp_path / "executed"
    folder.mkdir()
    whole = encode(takes[0])
    faults = {fault: sample(fault, members) for fault, (members, _) in content_faults(takes[0], trap).items()}
    named = sample(f"$(touch {trap.name}); touch executed #`touch executed`", whole)
    write_tar(folder / "faults.tar", *faults.values())
    write_tar(folder / "traps.tar", sample("trapped", whole | traps(trap)), named)
    return folder, trap


def test_verifying_names_every_content_fault(armed, takes):
    folder, trap = armed
    index = build_index(folder, verify=True)
    found = {problem.key: problem.reason for problem in index.problems}
    expected = {fault: words for fault, (_, words) in content_faults(takes[0], trap).items()}
    assert found.keys() == expected.keys()
    assert [fault for fault in expected if expected[fault] not in found[fault]] == []
    assert len(open_index(folder)) == 2
    assert not trap.exists()


def test_reading_a_damaged_sample_is_a_bad_sample_and_nothing_else(armed):
    folder, trap = armed
    index = open_index(folder)
    assert len(index) == 14
    for number in range(12):
        with pytest.raises(BadSample, match=r"faults\.tar: sample"):
            index.read(number)
    for number in (12, 13):
        assert index.read(number).video.shape == (5, 16, 16, 3)
    assert not trap.exists()


def test_nothing_is_executed_by_the_command(armed, tmp_path):
    folder, trap = armed
    before = sorted(os.listdir(tmp_path))  # noqa: PTH208
    command = [sys.executable, "-m", "hallo3_lightning.cli", "index", "--verify", "--workers", "2", str(folder)]
    done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, env=os.environ | {"PYTHONPATH": ROOT})
    assert done.returncode == 1, done.stderr
    assert "12 problems" in done.stdout
    assert sorted(os.listdir(tmp_path)) == before  # noqa: PTH208
    pickle.loads(traps(trap)["pkl"])
    assert trap.exists(), "the trap itself must work"


def test_members_that_others_execute_are_never_read(armed, monkeypatch):
    folder, trap = armed
    index, asked = open_index(folder), []
    read = index.store.read
    monkeypatch.setattr(index.store, "read", lambda ranges: asked.extend(ranges) or read(ranges))
    assert set(index.members(12)) > set(traps(trap))
    sizes = index.sizes(12)
    index.read(12)
    assert sum(wanted.size for wanted in asked) == sum(
        sizes[name] for name in index.members(12) if name not in traps(trap)
    )


@pytest.mark.parametrize("kind", ["samples", "one_key", "names", "faults", "keys_twice"])
def test_a_hundred_thousand_tiny_members_take_seconds(tmp_path, kind):
    """Only the first kind has so many, to be quick; what grew with the square would show with a quarter, too."""
    members = 99_996 if kind == "samples" else 24_996
    names = {
        "samples": lambda n: f"{n // 3:06d}.{list(SMALLEST)[n % 3]}",
        "one_key": lambda n: f"key.{n}",
        "names": lambda n: f"{n // 4:06d}.{[*SMALLEST, n][n % 4]}",
        "faults": lambda n: f"{n:06d}.txt",
        "keys_twice": lambda n: f"{n // 2:06d}.txt",
    }
    write_tar(tmp_path / "a.tar", sample("first"), *(empty_file(names[kind](n)) for n in range(members)))
    begin = time.process_time()
    index = open_index(tmp_path)
    assert len(index) == {"samples": 33_333, "names": 6250}.get(kind, 1)
    assert len(index.member_names) <= 64
    assert set(SMALLEST) <= set(index.member_names)
    assert time.process_time() - begin < 10


NAMELESS = bytearray(entry(""))


def empty_file(name: str) -> bytes:
    """A header, made faster than tarfile does."""
    header = NAMELESS.copy()
    header[: len(name)] = name.encode()
    header[148:156] = b" " * 8
    header[148:155] = b"%06o\0" % sum(header)
    return bytes(header)


@pytest.mark.parametrize("kind", [tarfile.LNKTYPE, tarfile.SYMTYPE])
def test_no_link_is_followed(tmp_path, kind):
    (tmp_path / "secret.txt").write_text("secret")
    link = entry("x.txt", type=kind, linkname=str(tmp_path / "secret.txt"))
    write_tar(tmp_path / "a.tar", sample("x", {"json": b"{}", "video.npy": b"v"}), link, sample("y"))
    index = open_index(tmp_path)
    assert [index.key(number) for number in range(len(index))] == ["y"]


@pytest.mark.parametrize("name", ["a\nb.tar", "\x1b[2J.tar", "a\udcff.tar"])
def test_shard_file_with_an_unprintable_name_is_refused(tmp_path, name):
    write_tar(tmp_path / name, sample("x"))
    with pytest.raises(UsageError, match=r"has a shard named .*; rename it") as refused:
        open_index(tmp_path)
    assert str(refused.value).isprintable()


def test_what_is_no_file_is_no_shard(tmp_path):
    write_tar(tmp_path / "a.tar", sample("x"))
    os.mkfifo(tmp_path / "pipe.tar")
    (tmp_path / "folder.tar").mkdir()
    assert open_index(tmp_path).shards == ("a.tar",)


def test_link_to_nothing_is_named(tmp_path, capsys):
    for name in ("a", "b"):
        write_tar(tmp_path / f"{name}.tar", sample(name))
    (tmp_path / "b.tar").rename(tmp_path / "elsewhere")
    (tmp_path / "b.tar").symlink_to(tmp_path / "nowhere")
    (tmp_path / "c.tar").symlink_to(tmp_path / "c.tar")
    index = open_index(tmp_path)
    assert len(index) == 1
    assert [(problem.shard, problem.reason) for problem in index.problems] == [
        (name, "a link to nothing; mend the link or remove it") for name in ("b.tar", "c.tar")
    ]
    assert saved_index(tmp_path) is not None
    assert main(["index", str(tmp_path)]) == 1
    assert "a link to nothing" in capsys.readouterr().out
    (tmp_path / "nowhere").hardlink_to(tmp_path / "elsewhere")
    assert len(open_index(tmp_path)) == 2
    (tmp_path / "nowhere").unlink()
    assert len(open_index(tmp_path)) == 1


def test_verifying_knows_signals_that_lie_alone(tmp_path, takes):
    made = {"text_embeddings.npy": npy(np.zeros((2, 3), np.float32))}
    write_tar(tmp_path / "a.tar", sample("x", made), sample("y", {"text_embeddings.npy": b"\x93NUMPY"}))
    index = build_index(tmp_path, verify=True)
    assert [(problem.key, problem.reason) for problem in index.problems] == [
        ("y", "undecodable member: text_embeddings.npy")
    ]
    assert len(index) == 1


@pytest.mark.parametrize("workers", [1, 2])
def test_verifying_names_what_would_not_make_batches(tmp_path, takes, workers):
    """The commonest form is that of the data set; faults of one sample and misfits are both left out."""
    small = make_take(3, 5, frames=5, size=14)
    faceless = replace(takes[2], key="faceless", face_embedding=None)
    boxed = replace(takes[2], key="boxed", facts={**takes[2].facts, "face_box": [1.5, 2.5, 3.5, 4.5]})
    huge = replace(takes[2], key="huge", face_embedding=np.full(24, 1e300))
    write_shard(tmp_path / "a.tar", [replace(small, key="small"), faceless])
    write_shard(tmp_path / "b.tar", [*takes[:2], boxed, huge])
    write_shard(tmp_path / "c.tar", takes[:2])
    index = build_index(tmp_path, verify=True, workers=workers)
    assert {problem.key: problem.reason for problem in index.problems} == {
        "boxed": "wrong fact: json",
        "huge": "non-finite face_embedding: face_embedding",
        "small": "other size: is of 14 x 14 pixels, others are of 16 x 16",
        "faceless": "missing field: lacks face_embedding, which others of its data set have",
    }
    assert index.samples_per_shard.tolist() == [0, 2, 2]
    assert [index.read(number).caption for number in range(4)] == [take.caption for take in takes[:2]] * 2


@pytest.mark.parametrize("seed", range(40))
def test_random_damage_never_stops_a_scan(tmp_path, seed, takes):
    """Whatever is done to a tar, a scan ends in samples and problems, and no sample lies outside of it."""
    draw = np.random.default_rng(seed)
    whole = bytearray(b"".join(sample(f"{number}", dict.fromkeys(SMALLEST, b"x" * 700)) for number in range(6)))
    for place in draw.integers(0, len(whole), draw.integers(1, 30)):
        whole[place] = draw.integers(0, 256)
    path = tmp_path / "a.tar"
    path.write_bytes(whole[: draw.integers(0, len(whole))] + bytes(int(draw.integers(0, 3)) * 512))
    found = scan(LocalStore(tmp_path), "a.tar")
    for extents in found.samples.values():
        assert all(0 <= offset <= offset + size <= path.stat().st_size for offset, size in extents.values())
