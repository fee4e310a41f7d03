"""How fast batches come from shards: raw tar, ours, and the webdataset library, on the same shards in one run."""

import argparse
import itertools
import json
import random
import tarfile
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
import webdataset
from rich.console import Console
from rich.table import Table

from datamodules.clip import cut
from datamodules.order import Mixture, ShardShuffle
from datamodules.shards import Sample, decode, write_shard
from datamodules.synthetic.take import make_take
from datamodules.talking_head import TalkingHead
from hallo3_lightning.batch import Batch, joined
from hallo3_lightning.geometry import latent_frames

BATCH, CLIP_FRAMES, LEADING, STARTS = 16, 17, 8, 12
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
    """One way to read: `start` opens it and gives the reading of one batch; the best round counts."""

    start: Callable[[Path], Read]
    samples_per_s: float = 0.0
    cpu_ms: float = float("inf")
    resident_mb: float = 0.0

    def measure(self, shards: Path, batches: int) -> None:
        """One round, after the first batch."""
        read = self.start(shards)
        read()
        wall, cpu = time.perf_counter(), time.process_time()
        samples = sum(read() for _ in range(batches))
        self.samples_per_s = max(self.samples_per_s, samples / (time.perf_counter() - wall))
        self.cpu_ms = min(self.cpu_ms, 1000 * (time.process_time() - cpu) / samples)
        self.resident_mb = max(self.resident_mb, resident_mb())


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


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", type=Path, help="write the headline figure there")
    parser.add_argument("--samples", type=int, default=400, help="samples in the shards (%(default)s)")
    parser.add_argument("--rounds", type=int, default=5, help="rounds of every reader in turn (%(default)s)")
    parser.add_argument("--steady", type=int, default=5000, help="samples read to see memory grow (%(default)s)")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    readers = {
        "raw tar": Reader(raw_tar),
        "hallo3_lightning": Reader(ours),
        "webdataset": Reader(theirs),
        "webdataset, select_files": Reader(theirs_selected),
    }
    with tempfile.TemporaryDirectory() as folder:
        size = write_shards(Path(folder), arguments.samples)
        grown = growth_mb(Path(folder), arguments.steady)
        for _ in range(arguments.rounds):
            for reader in readers.values():
                reader.measure(Path(folder), batches=arguments.samples // BATCH)
    say(readers, size, grown, arguments)


def say(readers: dict[str, Reader], size: int, grown: float, arguments: argparse.Namespace) -> None:
    """The table, and the figures as JSON."""
    rates = {name: reader.samples_per_s for name, reader in readers.items()}
    title = f"Training clips from samples of {size // 1000} kB, 0 workers; ratio: samples/s / webdataset's samples/s"
    table = Table("reader", "samples/s", "CPU ms/sample", "MB resident", "ratio", title=title)
    for name, reader in readers.items():
        cells = (reader.samples_per_s, reader.cpu_ms, reader.resident_mb, rates[name] / rates["webdataset"])
        table.add_row(name, *(f"{cell:.{digits}f}" for cell, digits in zip(cells, (0, 2, 0, 2), strict=True)))
    console = Console()
    console.print(table)
    console.print(f"memory over {arguments.steady} samples: {grown:+.1f} MB")
    costs = order_us()
    console.print(
        "order of 10 M samples, us a position: " + ", ".join(f"{cost:.1f} {name}" for name, cost in costs.items())
    )
    if arguments.json:
        ratio = rates["hallo3_lightning"] / rates["webdataset"]
        figures = {"ratio": ratio, "samples_per_s": rates, "grown_mb": grown, "order_us": costs}
        arguments.json.write_text(json.dumps(figures, indent=2))


if __name__ == "__main__":
    main()
