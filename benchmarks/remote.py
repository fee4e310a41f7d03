"""Samples read over http with 20 ms to the first byte: one request at a time, and several in flight in one process."""

import argparse
import asyncio
import json
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from aiohttp import web
from rich.console import Console
from rich.table import Table

from datamodules.index import Index, build_index, open_index
from datamodules.shards import Sample, write_shard

LATENCY_S = 0.02
SAMPLES = 200
BATCH = 32
FRAMES, SIZE = 25, 64
"""300 KB of frames a sample."""


@contextmanager
def served(folder: Path) -> Iterator[str]:
    """The folder's URL, its server answering LATENCY_S late."""
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, daemon=True)
    thread.start()
    runner = asyncio.run_coroutine_threadsafe(started(folder), loop).result()
    try:
        yield f"http://127.0.0.1:{runner.addresses[0][1]}"
    finally:
        asyncio.run_coroutine_threadsafe(runner.cleanup(), loop).result()
        loop.call_soon_threadsafe(loop.stop)
        thread.join()


async def started(folder: Path) -> web.AppRunner:
    @web.middleware
    async def late(request: web.Request, handler) -> web.StreamResponse:  # type: ignore[no-untyped-def]
        await asyncio.sleep(LATENCY_S)
        return await handler(request)

    app = web.Application(middlewares=[late])
    app.router.add_static("/", folder)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    return runner


def make(folder: Path) -> None:
    """Four shards of noise."""
    draw = np.random.default_rng(0)
    facts = {"frames": FRAMES, "fps": 25, "height": SIZE, "width": SIZE, "face_box": None, "identity": "", "split": ""}
    for shard in range(4):
        video = draw.integers(0, 256, (FRAMES, SIZE, SIZE, 3), np.uint8)
        keys = [f"{shard}-{number:04d}" for number in range(SAMPLES // 4)]
        waveform = draw.integers(-(2**15), 2**15, FRAMES * 640).astype(np.int16)
        write_shard(folder / f"{shard}.tar", (Sample(key, facts, video, waveform, "noise") for key in keys))
    build_index(folder)


def samples_per_s(index: Index, at_once: int, wanted: int) -> float:
    """Samples read a second of wall time, in a random order, `at_once` asked for together."""
    order = np.random.default_rng(1).permutation(len(index))[:wanted].tolist()
    index.read_members(order[0])  # connects
    begin = time.perf_counter()
    for first in range(0, wanted, at_once):
        index.read_many(order[first : first + at_once])
    return wanted / (time.perf_counter() - begin)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", type=Path, help="write the headline figure there")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as made:
        folder = Path(made) / "shards"
        folder.mkdir()
        make(folder)
        with served(folder) as url:
            local, remote = open_index(folder), open_index(url, cache=Path(made) / "cache")
            kept = open_index(url, cache=Path(made) / "cache", cache_gb=1)
            assert local.read_many(range(0, SAMPLES, 7)) == remote.read_many(range(0, SAMPLES, 7))
            kept.read_many(range(0, SAMPLES, SAMPLES // 4))  # fetches the four shards
            rates = {
                "one at a time": samples_per_s(remote, 1, SAMPLES // 4),
                "several in flight": samples_per_s(remote, BATCH, SAMPLES),
                "from the cache, full": samples_per_s(kept, BATCH, SAMPLES),
                "from the folder itself": samples_per_s(local, BATCH, SAMPLES),
            }
    report(rates, arguments.json)


def report(rates: dict[str, float], out: Path | None) -> None:
    table = Table(
        "reading", "samples/s", "ratio", title="Over http, 20 ms to the first byte, 325 KB a sample, undecoded"
    )
    for name, rate in rates.items():
        table.add_row(name, f"{rate:.0f}", f"{rate / rates['one at a time']:.2f}")
    Console().print(table)
    if out:
        ratio = rates["several in flight"] / rates["one at a time"]
        out.write_text(json.dumps({"ratio": ratio, "samples_per_s": rates}, indent=2))


if __name__ == "__main__":
    main()
