"""How fast batches come from shards: raw tar, ours, and the webdataset library, on the same shards in one run."""

import argparse
import itertools
import json
import random
import statistics
import tarfile
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
import webdataset
from rich.console import Console
from rich.table import Table

from datamodules.clip import cut
from datamodules.index import open_index
from datamodules.index_file import INDEX_FILE, Contents, Shard, save
from datamodules.order import Mixture, ShardShuffle
from datamodules.shards import Sample, decode, write_shard
from datamodules.synthetic.take import make_take
from datamodules.talking_head import TalkingHead
from hallo3_lightning.batch import Batch, joined
from hallo3_lightning.geometry import latent_frames

BATCH, CLIP_FRAMES, LEADING, STARTS, WARM_UP = 16, 17, 8, 12, 640
NEEDED = (
    "json",
    "video.npy",
    "txt",
    "face_embedding.npy",
    "latents.safetensors",
    "text_embeddings.npy",
    "audio_features.npy",
)
"""What a training clip with cached signals reads; the shards have sound and ground truth besides."""

Read = Callable[[], int]
"""Reads on, and says how many samples it was."""


@dataclass
class Reader:
    """One way to read, warmed up, and what each round of reading took: samples/s and CPU ms a sample."""

    read: Read
    held_mb: float
    rates: list[float] = field(default_factory=list)
    cpu_ms: list[float] = field(default_factory=list)

    @classmethod
    def started(cls, start: Callable[[Path], Read], shards: Path) -> "Reader":
        """Behind WARM_UP samples, so that a buffer that is still being filled costs nobody time."""
        before = resident_mb()
        read = start(shards)
        _ = [read() for _ in range(WARM_UP // BATCH)]
        return cls(read, resident_mb() - before)

    def measure(self, samples: int) -> None:
        """One round."""
        wall, cpu = time.perf_counter(), time.process_time()
        count = sum(self.read() for _ in range(samples // BATCH))
        self.rates.append(count / (time.perf_counter() - wall))
        self.cpu_ms.append(1000 * (time.process_time() - cpu) / count)


def raw_tar(shards: Path) -> Read:
    """Headers and bytes of every member in the order of the tars, nothing decoded."""

    def members() -> Iterator[int]:
        for shard in itertools.cycle(sorted(shards.glob("train/*.tar"))):
            with tarfile.open(shard, "r|") as tar:
                for entry in tar:
                    file = tar.extractfile(entry)
                    assert file is not None
                    file.read()
                    yield entry.name.endswith(".json")

    stream = members()

    def read() -> int:
        count = 0
        while count < BATCH:
            count += next(stream)
        return count

    return read


def ours(shards: Path) -> Read:
    """As `hallo3 fit` reads."""
    data = TalkingHead(str(shards), CLIP_FRAMES, BATCH, leading_frames=LEADING)
    return _batches(iter(data.train_dataloader()))


def theirs(shards: Path, **options: Any) -> Read:
    """A shuffled stream, as webdataset's documentation has it; decoding, cutting and joining are ours."""
    urls = sorted(str(shard) for shard in shards.glob("train/*.tar"))
    stream = webdataset.WebDataset(urls, shardshuffle=len(urls), **options).shuffle(300).repeat()
    return _batches(iter(stream.map(clip).batched(BATCH, collation_fn=joined)))


def theirs_selected(shards: Path) -> Read:
    """The same, told to read the members that a clip needs and no others."""
    return theirs(shards, select_files=lambda name: name.split(".", 1)[1] in NEEDED)


def clip(members: dict[str, Any]) -> Batch:
    """A random clip of the members that a stream gives."""
    sample = decode({name: members[name] for name in NEEDED}, members["__key__"], members["__url__"])
    assert sample.latents is not None
    number = random.randrange(len(sample.latents["starts"]))
    reference = random.randrange(sample.facts["frames"])
    start = int(sample.latents["starts"][number])
    return cut(sample, 0, start, CLIP_FRAMES, reference, latents=number, shown=LEADING)


def _batches(batches: Iterator[Batch]) -> Read:
    return lambda: len(next(batches))


def write_shards(folder: Path, samples: int) -> int:
    """Shards of takes with signals computed ahead; gives the bytes of a sample. Few takes are drawn, many are written."""
    drawn = [with_signals(make_take(0, number)) for number in range(16)]
    for split, count in (("train", samples), ("held_out", 1)):
        (folder / split).mkdir()
        for first in range(0, count, 50):
            takes = [replace(drawn[i % 16], key=f"{i:07d}") for i in range(first, min(first + 50, count))]
            write_shard(folder / split / f"{first:07d}.tar", takes)
    return sum(path.stat().st_size for path in folder.glob("train/*.tar")) // samples


def with_signals(take: Sample) -> Sample:
    """A take with signals of the sizes that the tiny encoders give."""
    noise = np.random.default_rng(int(take.key))
    latents = noise.normal(size=(STARTS, latent_frames(CLIP_FRAMES), 16, 8, 8)).astype(np.float16)
    return replace(
        take,
        latents={"starts": np.arange(STARTS), "latents": latents},
        audio_features=noise.normal(size=(take.facts["frames"] + 4, 4, 24)).astype(np.float32),
        text_embeddings=noise.normal(size=(16, 32)).astype(np.float32),
    )


def resident_mb() -> float:
    """Memory of this process now, that of mapped and shared files left out."""
    resident, shared = map(int, Path("/proc/self/statm").read_text().split()[1:3])
    return (resident - shared) * 4096 / 1e6


def growth_mb(shards: Path, samples: int) -> float:
    """How much memory reading that many samples adds, behind the first fifth."""
    read = ours(shards)
    _ = [read() for _ in range(samples // BATCH // 5)]
    before = resident_mb()
    _ = [read() for _ in range(samples // BATCH)]
    return resident_mb() - before


def order_us() -> dict[str, float]:
    """Microseconds a position in 10 M samples of 10 k shards, windows of 8; and to jump anywhere."""
    shuffle, mixture = ShardShuffle(np.full(10_000, 1000), 0, window=8), Mixture((3, 1), 0)
    costs = {}
    for name, order, positions in (
        ("in order", shuffle, range(20_000)),
        ("a jump", shuffle, range(0, 10**7, 10**6)),
        ("of a mixture", mixture, range(20_000)),
    ):
        begin = time.perf_counter()
        for position in positions:
            order(position)
        costs[name] = 1e6 * (time.perf_counter() - begin) / len(positions)
    return costs


def million(folder: Path) -> Path:
    """A folder with an index of 10^6 samples of 6 members in 1000 shards, which are holes of that size."""
    rows, per_shard, members = (
        10**6,
        1000,
        ("face_embedding.npy", "json", "latents.safetensors", "txt", "video.npy", "wav"),
    )
    shards = tuple(Shard(f"{number:04d}.tar", per_shard * 4096, "0" * 32, per_shard) for number in range(1000))
    for shard in shards:
        with (folder / shard.name).open("wb") as file:
            file.truncate(shard.bytes)
    offsets = (np.arange(rows) % per_shard)[:, None] * 4096 + np.arange(6) * 512
    table = np.stack([offsets, np.full((rows, 6), 512)], axis=-1)
    keys = np.frombuffer(b"".join(b"%010d" % number for number in range(rows)), np.uint8)
    save(folder / INDEX_FILE, Contents(shards, members, table, np.arange(rows + 1) * 10, keys, (), "0" * 16))
    return folder


def opening_s(folder: Path) -> float:
    """Seconds to open it."""
    begin = time.perf_counter()
    open_index(folder)
    return time.perf_counter() - begin


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", type=Path, help="write the headline figure there")
    parser.add_argument("--samples", type=int, default=400, help="samples in the shards (%(default)s)")
    parser.add_argument("--rounds", type=int, default=9, help="rounds of every reader in turn (%(default)s)")
    parser.add_argument("--steady", type=int, default=5000, help="samples read to see memory grow (%(default)s)")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        shards = Path(folder) / "shards"
        shards.mkdir()
        size = write_shards(shards, arguments.samples)
        grown, opened_s = growth_mb(shards, arguments.steady), opening_s(million(Path(folder)))
        readers = {name: Reader.started(start, shards) for name, start in READERS.items()}
        for _ in range(arguments.rounds):
            for reader in readers.values():
                reader.measure(arguments.samples)
    say(readers, size, grown, opened_s, arguments)


READERS = {
    "raw tar": raw_tar,
    "hallo3_lightning": ours,
    "webdataset": theirs,
    "webdataset, select_files": theirs_selected,
}


RATIO = (
    "ratio: samples/s over webdataset's samples/s of the same round, the median over the rounds, and the least to "
    "the most. The machine's speed changes from round to round, so this is not the quotient of two medians of the second column."
)


def ratios(one: Reader, other: Reader) -> list[float]:
    """Of samples/s, of each round: in each, one read right behind the other."""
    return [a / b for a, b in zip(one.rates, other.rates, strict=True)]


def say(readers: dict[str, Reader], size: int, grown: float, opened_s: float, arguments: argparse.Namespace) -> None:
    """The table, and the figures as JSON."""
    title = f"Training clips from samples of {size // 1000} kB, 0 workers, medians of {arguments.rounds} rounds"
    table = Table(
        "reader", "samples/s", "CPU ms/sample", "MB held", "ratio", "least to most", title=title, caption=RATIO
    )
    for name, reader in readers.items():
        cells = (statistics.median(reader.rates), statistics.median(reader.cpu_ms), reader.held_mb)
        shown = [f"{cell:.{digits}f}" for cell, digits in zip(cells, (0, 2, 0), strict=True)]
        of_rounds = ratios(reader, readers["webdataset"])
        spread = f"{min(of_rounds):.2f} to {max(of_rounds):.2f}"
        table.add_row(name, *shown, f"{statistics.median(of_rounds):.2f}", spread)
    console = Console()
    console.print(table)
    console.print(f"memory over {arguments.steady} samples: {grown:+.1f} MB")
    console.print(f"index of 10^6 samples opened in {opened_s:.2f} s")
    costs = order_us()
    console.print(
        f"order of 10 M samples, us a position: {', '.join(f'{cost:.1f} {name}' for name, cost in costs.items())}"
    )
    if arguments.json:
        figures = {
            "ratio": statistics.median(ratios(readers["hallo3_lightning"], readers["webdataset"])),
            "samples_per_s": {name: statistics.median(reader.rates) for name, reader in readers.items()},
            "cpu_ms": {name: statistics.median(reader.cpu_ms) for name, reader in readers.items()},
            "grown_mb": grown,
            "opened_s": opened_s,
            "order_us": costs,
        }
        arguments.json.write_text(json.dumps(figures, indent=2))


if __name__ == "__main__":
    main()
