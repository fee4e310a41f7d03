"""Structure faults of tars: each has a name, and none stops the samples around it."""

import tarfile

import pytest
from tars import SMALLEST, entry, sample, write_tar, write_with_tarfile

from datamodules.scan import scan
from datamodules.stores import LocalStore


def scanned(path):
    return scan(LocalStore(path.parent), path.name)


def kept(path):
    return list(scanned(path).samples)


def reasons(path):
    return {problem.key: problem.reason for problem in scanned(path).problems}


@pytest.fixture
def tar(tmp_path):
    """Writes a.tar of the entries between samples 'first' and 'last'."""
    return lambda *entries: write_tar(tmp_path / "a.tar", sample("first"), *entries, sample("last"))


def test_members_lie_where_their_bytes_are(tmp_path):
    members = {"json": b"{}", "video.npy": b"frames" * 200, "txt": b"", "b.C.d": b"other"}
    path = write_tar(tmp_path / "a.tar", sample("x/one", members), sample("two", members))
    found, whole = scanned(path), path.read_bytes()
    assert list(found.samples) == ["x/one", "two"]
    assert found.problems == []
    for extents in found.samples.values():
        assert {name: whole[first : first + size] for name, (first, size) in extents.items()} == {
            name.lower(): payload for name, payload in members.items()
        }


@pytest.mark.parametrize("form", [tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
@pytest.mark.parametrize("folder", ["", "./", "f" * 120 + "/", "Möwe/"])
def test_names_of_every_format_are_read(tmp_path, form, folder):
    if form == tarfile.USTAR_FORMAT and len(folder) > 100:
        folder = "f" * 60 + "/" + "g" * 60 + "/"  # what fits its two fields
    names = {f"{folder}clip.{name}": payload for name, payload in SMALLEST.items()}
    path = write_with_tarfile(tmp_path / "a.tar", names, form)
    whole = path.read_bytes()
    [(key, extents)] = scanned(path).samples.items()
    assert key == f"{folder}clip".removeprefix("./")
    assert {name: whole[first : first + size] for name, (first, size) in extents.items()} == SMALLEST


def test_size_in_a_pax_header_counts(tmp_path):
    """As for files of more than 8 GiB, whose own header has no room for it."""
    long = entry("x.video.npy", b"v" * 700)
    header = tarfile.TarInfo("x.video.npy").tobuf(tarfile.GNU_FORMAT)  # says 0
    parts = [entry("x.json"), entry("p", b"12 size=700\n", type=b"x"), header, long[512:], entry("x.txt")]
    path = write_tar(tmp_path / "a.tar", *parts)
    first, size = scanned(path).samples["x"]["video.npy"]
    assert path.read_bytes()[first : first + size] == b"v" * 700


def test_members_of_a_key_need_not_be_neighbours(tmp_path):
    parts = [entry(f"{key}.{name}", payload) for name, payload in SMALLEST.items() for key in "ab"]
    path = write_tar(tmp_path / "a.tar", *parts)
    assert {key: set(extents) for key, extents in scanned(path).samples.items()} == dict.fromkeys("ab", set(SMALLEST))
    assert reasons(path) == {}


def test_files_that_are_no_samples_are_passed_over(tar):
    path = tar(entry(".hidden"), entry("README"), entry("folder/", type=tarfile.DIRTYPE), entry("folder.d/", type=b"5"))
    assert kept(path) == ["first", "last"]
    assert reasons(path) == {}


LEFT_OUT = {
    "a member twice": ([sample("x"), entry("x.txt", b"again")], "member txt twice, or two samples of this key"),
    "two samples of one key": ([sample("x"), sample("y"), sample("x")], "member json twice, or two samples"),
    "no video": ([sample("x", {"json": b"{}", "txt": b"t"})], "missing member: video.npy or mp4"),
    "hard link": ([sample("x"), entry("x.wav", type=b"1", linkname="first.txt")], "member wav is a hard link"),
    "symbolic link": ([sample("x"), entry("x.wav", type=b"2", linkname="/etc/passwd")], "member wav is a symbolic"),
    "character device": ([sample("x"), entry("x.wav", type=b"3")], "member wav is a device"),
    "block device": ([sample("x"), entry("x.wav", type=b"4")], "member wav is a device"),
    "pipe": ([sample("x"), entry("x.wav", type=b"6")], "member wav is a pipe"),
    "unknown type": ([sample("x"), entry("x.wav", b"abc", type=b"Q")], "member wav is a special file"),
    "GNU sparse": ([sample("x"), entry("x.wav", b"abc", type=b"S")], "member wav is a sparse file"),
    "PAX sparse": (
        [sample("x"), entry("p", b"22 GNU.sparse.major=1\n", type=b"x"), entry("x.wav", b"abc")],
        "member wav is a sparse file",
    ),
}


@pytest.mark.parametrize("fault", LEFT_OUT)
def test_faulty_sample_is_left_out_and_named(tar, fault):
    entries, reason = LEFT_OUT[fault]
    path = tar(*entries)
    assert [key for key in kept(path) if key != "y"] == ["first", "last"]
    [problem] = scanned(path).problems
    assert (problem.shard, problem.key) == ("a.tar", "x")
    assert reason in problem.reason


NAMES = {
    "../climbs": "name that leaves its folder",
    "a/../../climbs": "name that leaves its folder",
    "/absolute": "name that leaves its folder",
    "not\udcff utf8": "control characters, or not UTF-8",
    "line\nbreak": "control characters, or not UTF-8",
    "\x1b[31mred": "control characters, or not UTF-8",
    "turned\u202eback": "control characters, or not UTF-8",
    "long" * 300: "name longer than 1024",
}


@pytest.mark.parametrize("name", NAMES)
def test_evil_name_is_left_out_and_its_problem_can_be_printed(tar, name):
    path = tar(*(entry(f"{name}.{member}", payload) for member, payload in SMALLEST.items()))
    assert kept(path) == ["first", "last"]
    [(key, reason)] = reasons(path).items()
    assert NAMES[name] in reason
    assert key.isprintable()
    assert len(key) <= 1024
    key.encode()


def test_a_name_of_ten_thousand_dots_and_slashes_takes_no_time(tar):
    path = tar(entry("./" * 400_000 + "x.txt"), entry("/".join("." * 10_000) + ".txt"))
    assert kept(path) == ["first", "last"]


@pytest.fixture
def whole(tmp_path):
    """A tar of samples a, b, c, and where each member's header lies."""
    path = write_tar(tmp_path / "a.tar", *(sample(key) for key in "abc"))
    with tarfile.open(path) as tar:
        return path, [member.offset for member in tar]


def flipped(bytes_: bytes, header: int) -> bytes:
    return bytes_[: header + 5] + bytes([bytes_[header + 5] ^ 1]) + bytes_[header + 6 :]


def zeroed(bytes_: bytes, header: int) -> bytes:
    return bytes_[:header] + bytes(512) + bytes_[header + 512 :]


def cut_at_a_border(bytes_: bytes, header: int) -> bytes:
    return bytes_[:header]


def cut_inside_a_header(bytes_: bytes, header: int) -> bytes:
    return bytes_[: header + 100]


def with_another_behind(bytes_: bytes, header: int) -> bytes:
    return bytes_[:header] + bytes(1024) + bytes_


HARMS = [flipped, zeroed, cut_at_a_border, cut_inside_a_header, with_another_behind]


@pytest.mark.parametrize(("member", "left"), [(4, "a"), (5, "a"), (6, "a"), (7, "ab")])
@pytest.mark.parametrize("harm", HARMS)
def test_damage_keeps_the_samples_before_it(whole, harm, member, left):
    path, headers = whole
    path.write_bytes(harm(path.read_bytes(), headers[member]))
    assert "".join(kept(path)) == left
    assert f"damaged or truncated at byte {headers[member]} of {path.stat().st_size}" in reasons(path)[""]
    assert "last sample before the damage" in reasons(path)["bbbc"[member - 4]]


@pytest.mark.parametrize("member", [4, 8])
def test_shard_cut_within_a_member_names_it(whole, member):
    path, headers = whole
    path.write_bytes(path.read_bytes()[: headers[member] + 512])
    key, name = "abc"[member // 3], list(SMALLEST)[member % 3]
    assert "".join(kept(path)) == "abc"[: member // 3]
    assert reasons(path)[""].startswith(f"truncated: {key}.{name} claims bytes up to")
    assert reasons(path)[key] == f"member {name} is a file that the shard ends within"


@pytest.mark.parametrize("size", [2**33, 2**40, 2**62, -(2**40)])
def test_member_that_claims_more_than_there_is_costs_its_sample(tar, size):
    path = tar(entry("x.json"), entry("x.video.npy", size=size))
    assert kept(path) == ["first"]
    assert reasons(path)["x"] == "member video.npy is a file that the shard ends within"


@pytest.mark.parametrize("kind", [b"L", b"K", b"x", b"g"])
@pytest.mark.parametrize("size", [2**21, 2**40, -5])
def test_long_name_that_claims_too_much_ends_the_walk(tar, kind, size):
    path = tar(entry("x", type=kind, size=size))
    assert kept(path) == []  # 'first' was the last before the damage
    assert "damaged at byte" in reasons(path)[""]


def test_ten_thousand_names_for_one_member_do_not_nest(tar):
    path = tar(*[entry("n", b"other.txt\0", type=b"L")] * 10_000, sample("x"))
    assert kept(path) == ["first", "last"]


@pytest.mark.parametrize("records", [b"", b"\0\0", b"5", b"999 path=x.txt\n", b"-9 path=x\n", b"0 p=x\n", b"x y=z\n"])
def test_nonsense_in_a_pax_header_is_passed_over(tar, records):
    path = tar(entry("p", records, type=b"x"), *(entry(f"x.{name}", payload) for name, payload in SMALLEST.items()))
    assert "last" in kept(path)


@pytest.mark.parametrize(("zeros", "whole"), [(0, False), (512, False), (1023, False), (1024, True), (1536, True)])
def test_a_tar_ends_with_two_blocks_of_zeros_or_more(tmp_path, zeros, whole):
    path = tmp_path / "a.tar"
    path.write_bytes(sample("x") + bytes(zeros))
    assert kept(path) == (["x"] if whole else [])
    assert ("" in reasons(path)) is not whole


WHOLE_FILES = {
    b"": "empty file of 0 bytes",
    b"<html>404 Not Found</html>" * 100: "not a tar",
    b"\x1f\x8b" + bytes(range(256)) * 9: "compressed with gzip",
    b"\x28\xb5\x2f\xfd" + bytes(range(256)) * 9: "compressed with zstandard",
}


@pytest.mark.parametrize("content", WHOLE_FILES)
def test_file_that_is_no_tar_is_named(tmp_path, content):
    path = tmp_path / "a.tar"
    path.write_bytes(content)
    [problem] = scanned(path).problems
    assert (problem.shard, problem.key) == ("a.tar", "")
    assert WHOLE_FILES[content] in problem.reason


def test_tar_of_nothing_is_no_problem(tmp_path):
    path = write_tar(tmp_path / "a.tar")
    assert (kept(path), scanned(path).problems) == ([], [])
