import json
import multiprocessing
import os
import pickle
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from range_server import serving
from tars import sample, write_tar

from datamodules import remote_store
from datamodules.index import INDEX_FILE, build_index, build_remote_index, open_index
from datamodules.remote_store import FsspecStore, checked_url
from datamodules.shard_cache import CachedStore, cached_name
from datamodules.stores import LocalStore, Range, Stat, coalesced, is_url
from hallo3_lightning.cli import main
from hallo3_lightning.errors import UsageError

ROOT = Path(__file__).parents[2]

RANGES = st.lists(
    st.builds(Range, st.sampled_from(["a.tar", "b.tar"]), st.integers(0, 4000), st.integers(0, 300)), max_size=12
)


@pytest.fixture
def folder(tmp_path):
    """Two files of 5000 different bytes."""
    served = tmp_path / "served"
    served.mkdir()
    for seed, name in enumerate(("a.tar", "b.tar")):
        (served / name).write_bytes(bytes((i * i // 7 + seed) % 251 for i in range(5000)))
    return served


@pytest.fixture
def server(folder):
    with serving(folder) as server:
        yield server


@pytest.fixture(autouse=True)
def _impatient(monkeypatch):
    monkeypatch.setattr(remote_store, "FIRST_PAUSE_S", 0.001)


def cut(folder, wanted):
    return (folder / wanted.shard).read_bytes()[wanted.offset : wanted.offset + wanted.size]


@given(ranges=RANGES, gap=st.integers(0, 500))
@example(ranges=[Range("a.tar", 0, 10), Range("a.tar", 15, 10)], gap=5)
@example(ranges=[Range("a.tar", 0, 10), Range("a.tar", 16, 10)], gap=5)
def test_merged_ranges_cover_each_and_nothing_far_from_any(ranges, gap):
    merged = coalesced(ranges, gap)
    assert sorted(number for _, covered in merged for number in covered) == list(range(len(ranges)))
    for whole, covered in merged:
        inside = [ranges[number] for number in covered]
        assert all(part.shard == whole.shard for part in inside)
        assert min(part.offset for part in inside) == whole.offset
        assert max(part.offset + part.size for part in inside) == whole.offset + whole.size
        used = {byte for part in inside for byte in range(part.offset - gap, part.offset + part.size)}
        assert used >= set(range(whole.offset, whole.offset + whole.size))
    for (one, _), (next_one, _) in zip(merged, merged[1:], strict=False):
        assert one.shard < next_one.shard or one.offset + one.size + gap < next_one.offset


def test_every_store_gives_the_bytes_of_the_file(folder, server, tmp_path):
    wanted = [Range("b.tar", 700, 1), Range("a.tar", 4000, 1000), Range("a.tar", 0, 5), Range("a.tar", 3, 9)]
    wanted += [Range("a.tar", 5000, 0), Range("b.tar", 0, 5000)]
    remote = FsspecStore(server.url)
    for store in (LocalStore(folder), remote, CachedStore(remote, tmp_path / "cache", 20_000)):
        assert store.read(wanted) == [cut(folder, one) for one in wanted]
        assert store.read([]) == []
        assert pickle.loads(pickle.dumps(store)).read(wanted[:2]) == [cut(folder, one) for one in wanted[:2]]
        assert store.stat("a.tar").size == 5000
        assert [name for name in store.names() if name.endswith(".tar")] == ["a.tar", "b.tar"]


def test_neighbours_are_one_request(server):
    FsspecStore(server.url).read([Range("a.tar", start, 100) for start in (900, 100, 500)])
    assert server.ranges == ["bytes=100-999"]


def test_several_requests_are_in_flight_but_no_more_than_eight(folder):
    (folder / "a.tar").write_bytes(bytes(40 << 17))
    with serving(folder, latency_s=0.05) as server:
        begin = time.monotonic()
        FsspecStore(server.url).read([Range("a.tar", start << 17, 1) for start in range(40)])
        assert time.monotonic() - begin < 40 * 0.05 / 2
    assert 2 < server.most_at_once <= 8


def test_few_files_stay_open_and_a_reader_keeps_its_own(folder):
    for number in range(9):
        (folder / f"{number}.tar").write_bytes(b"%d" % number * 50)
    store = LocalStore(folder, open_files=2)
    held = store._file("a.tar")
    before = len(os.listdir("/proc/self/fd"))  # noqa: PTH208
    for _ in range(2):
        for number in range(9):
            assert store.read([Range(f"{number}.tar", 3, 2)]) == [b"%d" % number * 2]
    assert len(os.listdir("/proc/self/fd")) <= before + 2  # noqa: PTH208
    assert os.pread(held.number, 2, 1) == cut(folder, Range("a.tar", 1, 2))
    again = store._file("8.tar")
    assert store._file("8.tar") is again


def test_threads_share_a_local_store(folder):
    store, wrong = LocalStore(folder, open_files=1), []

    def read(shard):
        for start in range(300):
            one = Range(shard, start, 50)
            if store.read([one]) != [cut_of[shard][start : start + 50]]:
                wrong.append(one)

    cut_of = {name: (folder / name).read_bytes() for name in ("a.tar", "b.tar")}
    threads = [threading.Thread(target=read, args=[shard]) for shard in list(cut_of) * 3]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []


def _reads_in_a_fork(store, wanted, results):
    results.put(store.read([wanted]))


def test_remote_store_survives_a_fork(folder, server):
    store, wanted = FsspecStore(server.url), Range("a.tar", 5, 7)
    store.read([wanted])
    fork = multiprocessing.get_context("fork")
    results = fork.SimpleQueue()
    child = fork.Process(target=_reads_in_a_fork, args=[store, wanted, results])
    child.start()
    child.join(20)
    assert child.exitcode == 0
    assert results.get() == [cut(folder, wanted)]


REFUSED = [
    "pipe:cat a.tar",
    "file:///etc",
    "file:/etc",
    "simplecache::http://host/data",
    "http://host/data::pipe:ls",
    "tar://a::http://host",
    "ftp://host/data",
    "local://etc",
    "memory://data",
    "HTTP://host/data",
    "http:///data",
    "http://host/../data",
    "http://host/%2e%2e/data",
    "http://host/data?token=1",
    "http://host/data#part",
    "http://host/two words",
    "http://host/a\\b",
]


@pytest.mark.parametrize("url", REFUSED)
def test_place_off_the_list_is_refused_in_one_sentence(url):
    assert is_url(url)
    with pytest.raises(UsageError) as refused:
        open_index(url)
    assert "\n" not in str(refused.value)


def test_folders_are_no_urls(tmp_path):
    assert not any(is_url(place) for place in ("data/heads", "./a:b", "/data", tmp_path, "a b", "..", ""))
    assert checked_url("http://host/data/") == "http://host/data"


@pytest.mark.parametrize(("scheme", "package"), [("s3", "s3fs"), ("gs", "gcsfs")])
def test_missing_package_is_named(scheme, package, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, package, None)
    with pytest.raises(UsageError, match=f"pip install {package}"):
        open_index(f"{scheme}://bucket/data")


@pytest.mark.parametrize("name", ["../a.tar", "/etc/passwd", "a%2f.tar", "a?b.tar", "a b.tar", ".tar", "a::b.tar"])
def test_no_odd_name_is_asked_of_a_server(server, name):
    with pytest.raises(UsageError, match="no file is read by the name"):
        FsspecStore(server.url).read([Range(name, 0, 1)])
    assert server.asked.total() == 0


@pytest.mark.parametrize("status", [500, 503, 429, 408])
def test_passing_trouble_is_waited_out(folder, server, status):
    server.answers += [status, status, 200]
    assert FsspecStore(server.url).read([Range("a.tar", 1, 4)]) == [cut(folder, Range("a.tar", 1, 4))]
    assert server.asked["GET a.tar"] == 3


def test_lasting_trouble_is_an_os_error_that_says_how_often_it_was_tried(server):
    server.answers += [503] * 100
    with pytest.raises(OSError, match=r"a\.tar: no answer after 8 tries: .*503"):
        FsspecStore(server.url).read([Range("a.tar", 1, 4)])


def test_server_that_is_gone_is_an_os_error(folder):
    with serving(folder) as server:
        pass
    for ask in (lambda store: store.stat("a.tar"), lambda store: store.read([Range("a.tar", 1, 4)])):
        with pytest.raises(OSError, match="no answer after 8 tries"):
            ask(FsspecStore(server.url))


@pytest.mark.parametrize(("status", "kind"), [(404, FileNotFoundError), (403, PermissionError), (400, OSError)])
def test_what_stays_wrong_is_asked_once(server, status, kind):
    server.answers += [status]
    with pytest.raises(kind):
        FsspecStore(server.url).read([Range("a.tar", 1, 4)])
    assert server.asked["GET a.tar"] == 1


def test_server_without_ranges_is_named(server):
    server.whole = True
    with pytest.raises(UsageError, match="does not serve byte ranges"):
        FsspecStore(server.url).read([Range("a.tar", 1, 4)])


@pytest.fixture
def shards(tmp_path):
    """A folder of 3 + 2 samples, indexed, and another with the same names and sizes but other bytes."""
    for kind in ("one", "two"):
        folder = tmp_path / kind
        folder.mkdir()
        for name, keys in {"a": "xyz", "b": "uv"}.items():
            members = {"json": b"{}", "video.npy": kind.encode() * 1000, "txt": b"t"}
            write_tar(folder / f"{name}.tar", *(sample(key, members) for key in keys))
        build_index(folder)
    return tmp_path


@pytest.mark.parametrize("cache_gb", [None, 1.0])
def test_url_gives_what_the_folder_gives(shards, cache_gb):
    local = open_index(shards / "one")
    with serving(shards) as server:
        index = open_index(f"{server.url}/one/", cache=shards / "cache", cache_gb=cache_gb)
        assert (index.digest, len(index)) == (local.digest, 5)
        assert index.read_many(range(5)) == local.read_many(range(5))
        assert pickle.loads(pickle.dumps(index)).read_members(3) == local.read_members(3)
        assert len(pickle.dumps(index)) < 2000
        open_index(f"{server.url}/one", cache=shards / "cache")
    assert server.asked["GET index.wdx"] == 1, "the second time it lies in the cache"


def test_shards_of_two_data_sets_do_not_mix_in_a_cache(shards):
    with serving(shards) as server:
        one, two = (open_index(f"{server.url}/{kind}", cache=shards / "cache", cache_gb=1) for kind in ("one", "two"))
        assert one.read_members(0)["video.npy"] == b"one" * 1000
        assert two.read_members(0)["video.npy"] == b"two" * 1000
        before = server.asked.copy()
        assert one.read_members(1)["video.npy"] == b"one" * 1000
    assert server.asked == before, "what lies here is not asked for again"


def test_name_in_the_cache_is_of_place_size_and_tag():
    names = {
        cached_name(place, name, Stat(size, tag))
        for place in ("http://a", "http://b")
        for name in ("x.tar", "../y")
        for size in (1, 2)
        for tag in ("", "e")
    }
    assert len(names) == 16
    assert all(len(name) == 64 and name.isalnum() for name in names)


def test_cache_drops_the_longest_unused(folder, server, tmp_path):
    for name in ("c.tar", "d.tar"):
        (folder / name).write_bytes(bytes(5000))
    cache = CachedStore(FsspecStore(server.url), tmp_path / "cache", 11_000)
    for name in ("a.tar", "b.tar", "a.tar", "c.tar", "a.tar", "b.tar"):
        cache.read([Range(name, 0, 10)])
        time.sleep(0.01)
        kept = [path for path in (tmp_path / "cache").iterdir() if path.is_file()]
        assert sum(path.stat().st_size for path in kept) <= 11_000
    assert {name: server.asked[f"GET {name}"] for name in ("a.tar", "b.tar", "c.tar")} == {
        "a.tar": 1,
        "b.tar": 2,
        "c.tar": 1,
    }


def test_shard_larger_than_the_cache_is_read_by_range(folder, server, tmp_path):
    cache = CachedStore(FsspecStore(server.url), tmp_path / "cache", 4000)
    assert cache.read([Range("a.tar", 7, 10)]) == [cut(folder, Range("a.tar", 7, 10))]
    assert server.ranges == ["bytes=7-16"]


def test_what_a_killed_process_left_in_the_cache_makes_room(folder, server, tmp_path):
    cache = CachedStore(FsspecStore(server.url), tmp_path / "cache", 5500)
    (tmp_path / "cache" / "0123.part").write_bytes(bytes(5000))
    assert cache.read([Range("a.tar", 7, 10)]) == [cut(folder, Range("a.tar", 7, 10))]
    assert [path.stat().st_size for path in (tmp_path / "cache").iterdir() if path.is_file()] == [5000]
    assert not (tmp_path / "cache" / "0123.part").exists()


def _reads_through_a_cache(url, folder, results):
    cache = CachedStore(FsspecStore(url), folder, 5500)  # room for one of the two
    for start in range(6):
        for name in ("a.tar", "b.tar"):
            results.put((name, start, cache.read([Range(name, start, 10)])[0]))


def test_processes_share_a_cache_that_is_too_small_for_them(folder, server, tmp_path):
    context = multiprocessing.get_context("fork")
    results = context.Queue()
    readers = [
        context.Process(target=_reads_through_a_cache, args=[server.url, tmp_path / "cache", results]) for _ in range(3)
    ]
    for reader in readers:
        reader.start()
    read = [results.get(timeout=30) for _ in range(3 * 12)]
    for reader in readers:
        reader.join(20)
        assert reader.exitcode == 0
    assert all(payload == cut(folder, Range(name, start, 10)) for name, start, payload in read)
    kept = [path for path in (tmp_path / "cache").iterdir() if path.is_file()]
    assert sum(path.stat().st_size for path in kept) <= 5500


def test_url_without_an_index_says_how_to_make_one(shards):
    (shards / "one" / INDEX_FILE).unlink()
    with (
        serving(shards) as server,
        pytest.raises(UsageError, match=f"has no {INDEX_FILE}; make one with: hallo3 index"),
    ):
        open_index(f"{server.url}/one", cache=shards / "cache")


@pytest.mark.parametrize("damage", [b"", b"x" * 500, None])
def test_damaged_index_behind_a_url_is_one_sentence(shards, damage):
    whole = (shards / "one" / INDEX_FILE).read_bytes()
    (shards / "one" / INDEX_FILE).write_bytes(whole[:-1] if damage is None else damage)
    with serving(shards) as server, pytest.raises(UsageError, match=r"cannot be used: .*; index the shards again"):
        open_index(f"{server.url}/one", cache=shards / "cache")


@pytest.mark.parametrize("cache_gb", [None, 1.0])
def test_shard_of_another_size_than_indexed_is_named(shards, cache_gb):
    write_tar(shards / "one" / "a.tar", sample("x"))
    with serving(shards) as server:
        index = open_index(f"{server.url}/one", cache=shards / "cache", cache_gb=cache_gb)
        with pytest.raises(UsageError, match=r"a\.tar: has \d+ bytes, its index says \d+; index the shards again"):
            index.read_members(0)


def test_index_made_over_http_gives_the_same_samples(shards):
    local = open_index(shards / "one")
    with serving(shards) as server:
        remote = build_remote_index(f"{server.url}/one", shards / "made.wdx")
        assert remote.read_many(range(5)) == local.read_many(range(5))
        assert remote.digest != local.digest, "of tags, not of bytes"
        (shards / "made.wdx").replace(shards / "one" / INDEX_FILE)
        assert open_index(f"{server.url}/one", cache=shards / "cache").digest == remote.digest


@pytest.mark.parametrize("cache_gb", [None, 1.0])
def test_shard_of_another_tag_than_indexed_is_named(shards, cache_gb):
    with serving(shards) as server:
        build_remote_index(f"{server.url}/one", shards / "made.wdx")
        (shards / "made.wdx").replace(shards / "one" / INDEX_FILE)
        index = open_index(f"{server.url}/one", cache=shards / "cache", cache_gb=cache_gb)
        assert index.read_members(0)["video.npy"] == b"one" * 1000
        (shards / "two" / "b.tar").replace(shards / "one" / "b.tar")
        with pytest.raises(UsageError, match=r"b\.tar: was written again since it was indexed, by its tag; index the"):
            index.read_members(4)


def test_url_without_shards_says_so(shards):
    (shards / "three").mkdir()
    with serving(shards) as server, pytest.raises(UsageError, match=r"lists no \.tar shards"):
        build_remote_index(f"{server.url}/three", shards / "made.wdx")


def test_hugging_face_data_set_is_read_by_exact_ranges(shards):
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    command = [sys.executable, str(ROOT / "tests/datamodules/hub_server.py"), str(shards)]
    done = subprocess.run(command, capture_output=True, text=True, env=environment, timeout=100)
    assert done.returncode == 0, done.stderr
    said = json.loads(done.stdout)
    assert said["equal"]
    assert said["digests"][0] == said["digests"][1]
    assert said["names"] == ["a.tar", "b.tar", INDEX_FILE]
    assert int(said["tag"], 16) == (shards / "one" / "a.tar").stat().st_size
    index = open_index(shards / "one")
    spans = [
        int(last) - int(first) + 1 for first, last in (r.removeprefix("bytes=").split("-") for r in said["ranges"])
    ]
    assert spans[0] == (shards / "one" / INDEX_FILE).stat().st_size
    assert sum(spans[1:]) < index.shard_bytes, "nothing is read ahead"


def test_command_indexes_a_url_and_shows_it(shards, tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("HALLO3_CACHE", str(tmp_path / "cache"))
    with serving(shards) as server:
        made = shards / "two" / INDEX_FILE
        made.unlink()
        assert main(["index", f"{server.url}/two", "--workers", "1", "--out", str(made)]) == 0
        assert f"put it beside the shards, as {server.url}/two/{INDEX_FILE}" in capsys.readouterr().out
        assert main(["show", f"{server.url}/two"]) == 0
        assert "5 in 2 shards" in capsys.readouterr().out
        url = server.url
    for typed in (["index", f"{url}/two"], ["index", f"{url}/nothing"], ["show", f"{url}/two"]):
        assert main(typed) == 2
        said = capsys.readouterr().err
        assert url in said
        assert said.count("\n") == 1
