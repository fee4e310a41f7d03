import argparse
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from hallo3_lightning.errors import UsageError
from hallo3_lightning.verbs._shards import one_sentence, places_of

if TYPE_CHECKING:
    import numpy as np
    from rich.table import Table

    from datamodules.index import Index
    from datamodules.show import Statistics

HELP = "what is in shards: statistics of a data set, or one sample as a contact sheet"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("shards", help="folder of .tar shards, or of train/ and held_out/; or a URL")
    parser.add_argument("key", nargs="?", default=None, help="the sample to show; all of them by default")
    parser.add_argument(
        "--out", type=Path, default=None, metavar="FILE.png", help="draw plots or the contact sheet there"
    )
    parser.add_argument("--samples", type=int, default=1000, help="samples that statistics look at (%(default)s)")


def run(shards: str, key: str | None, out: Path | None, samples: int) -> int:
    from datamodules.index import open_index

    if out is not None and (out.suffix.lower() != ".png" or not out.absolute().parent.is_dir()):
        raise UsageError(f"--out is {out}; expected a name that ends with .png, in a folder that is there")
    if samples < 1:
        raise UsageError(f"--samples is {samples}; expected 1 or more")
    with one_sentence():
        indexes = [open_index(place) for place in places_of(shards)]
        if key is None:
            _show_all(indexes, out, samples)
        else:
            _show_one(*_found(indexes, key), out)
    return 0


def _show_all(indexes: Sequence["Index"], out: Path | None, samples: int) -> None:
    from rich.console import Console

    from datamodules.show import plots, save, statistics

    found = {index.name: statistics(index, samples) for index in indexes}
    console = Console()
    console.print(_table(indexes, found))
    if out is not None:
        save(plots(found), out)
        console.print(f"drawn to {out}", markup=False, soft_wrap=True)


def _table(indexes: Sequence["Index"], found: Mapping[str, "Statistics"]) -> "Table":
    from rich.table import Table
    from rich.text import Text

    table = Table()
    table.add_column("", no_wrap=True)
    for index in indexes:
        table.add_column(Text(index.name))
    columns = [dict(_lines(index, found[index.name])) for index in indexes]
    for name in dict.fromkeys(name for column in columns for name in column):
        table.add_row(Text(name), *(Text(column.get(name, "-")) for column in columns))
    return table


def _lines(index: "Index", found: "Statistics") -> Iterator[tuple[str, str]]:
    """What is said of a data set: name and text."""
    from collections import Counter

    yield "samples", f"{len(index)} in {len(index.shards)} shards, {index.shard_bytes / 1e9:.3f} GB"
    yield "left out", f"{len(index.problems)} problems (hallo3 index lists them)" if index.problems else "nothing"
    yield "looked at", f"{len(found.seen)}" if len(found.seen) < found.of else "all"
    for reason, times in found.bad.items():
        yield f"not readable: {reason}", str(times)
    yield "hours", f"{found.hours:.3f}" if len(found.seen) == found.of else f"about {found.hours:.3f}"
    sizes = Counter(f"{one.height} x {one.width}" for one in found.seen)
    yield "height x width", ", ".join(f"{size}: {times}" for size, times in sizes.most_common(5))
    spreads = {"frames": "", "words": " words", "face": " of the height", "yaw": " degrees", "loudness": " dB"}
    for name, unit in spreads.items():
        titles = {"words": "caption", "face": "face", "yaw": "head turn", "loudness": "loudness"}
        yield titles.get(name, name), _spread(found.values(name), unit)
    for name, (count, size) in sorted(index.totals().items()):
        yield f"member {name}", f"{count / len(index):.1%}, {size / max(count, 1) / 1e3:.1f} kB each"


def _spread(values: "np.ndarray", unit: str) -> str:
    import numpy as np

    if not len(values):
        return "-"
    low, middle, high = (f"{np.quantile(values, part):.4g}" for part in (0, 0.5, 1))
    return f"{low} to {high}, median {middle}{unit}"


def _found(indexes: Sequence["Index"], key: str) -> tuple["Index", int]:
    """The first data set that has the key, and its number there; the error is about the first one."""
    for index in reversed(indexes[1:]):
        with suppress(UsageError):
            return index, index.number(key)
    return indexes[0], indexes[0].number(key)


def _show_one(index: "Index", number: int, out: Path | None) -> None:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    from datamodules.shards import DECODERS
    from datamodules.show import contact_sheet, save

    console = Console()
    table = Table(
        "member", "bytes", "read as", title=Text(f"{index.key(number)} of {index.name}/{index.shard(number)}")
    )
    for name, size in index.sizes(number).items():
        table.add_row(Text(name), f"{size:,}", DECODERS[name][0] if name in DECODERS else "never read")
    console.print(table)
    sample = index.read(number)
    console.print(Text(sample.caption.strip()))
    if out is not None:
        save(contact_sheet(sample), out)
        console.print(f"drawn to {out}", markup=False, soft_wrap=True)
