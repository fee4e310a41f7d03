"""How fast batches come from shards, against the webdataset library on the same shards with the same decoders."""

import argparse
import itertools
import json
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch
import webdataset
from rich.console import Console
from rich.table import Table

from datamodules.loader import cut
from datamodules.shards import decode
from datamodules.synthetic.write import synthesize
from datamodules.talking_head import TalkingHead
from hallo3_lightning.batch import Batch, joined

BATCH, CLIP_FRAMES, BATCHES = 16, 17, 40


def ours(shards: Path) -> Iterator[Batch]:
    return iter(TalkingHead(str(shards), CLIP_FRAMES, BATCH).train_dataloader())


def theirs(shards: Path) -> Iterator[Batch]:
    """A shuffled stream, as webdataset's documentation has it; decoding, cutting and joining are ours."""
    urls = sorted(str(shard) for shard in shards.glob("train/*.tar"))
    stream = webdataset.WebDataset(urls, shardshuffle=len(urls)).shuffle(300).repeat()
    return iter(stream.map(clip).batched(BATCH, collation_fn=joined))


def clip(members: dict[str, Any]) -> Batch:
    sample = decode(members, members["__key__"], members["__url__"])
    start = int(torch.randint(sample.facts["frames"] - CLIP_FRAMES + 1, ()))
    return cut(sample, 0, start, CLIP_FRAMES, int(torch.randint(sample.facts["frames"], ())))


def samples_per_s(batches: Callable[[Path], Iterator[Batch]], shards: Path) -> float:
    """Samples a second of one core's time, after the first batch; the best of three rounds."""
    rates = []
    for _ in range(3):
        stream = batches(shards)
        next(stream)
        begin = time.process_time()
        read = sum(len(batch) for batch in itertools.islice(stream, BATCHES))
        rates.append(read / (time.process_time() - begin))
    return max(rates)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", type=Path, help="write the headline figure there")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        shards = synthesize(Path(folder), takes=400, held_out=1, workers=1)
        rates = {"hallo3_lightning": samples_per_s(ours, shards), "webdataset": samples_per_s(theirs, shards)}
    table = Table(
        "reader", "samples/s", "ratio", title="Loading, decode included, 0 workers: samples/s / webdataset's samples/s"
    )
    for reader, rate in rates.items():
        table.add_row(reader, f"{rate:.0f}", f"{rate / rates['webdataset']:.2f}")
    Console().print(table)
    if arguments.json:
        figures = {"ratio": rates["hallo3_lightning"] / rates["webdataset"], "samples_per_s": rates}
        arguments.json.write_text(json.dumps(figures, indent=2))


if __name__ == "__main__":
    main()
