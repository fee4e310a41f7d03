import argparse
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from hallo3_lightning.errors import UsageError
from hallo3_lightning.verbs._shards import one_sentence, places_of

if TYPE_CHECKING:
    from rich.table import Table

    from datamodules.index import Index
    from datamodules.scan import Problem

HELP = "find every sample of a folder of shards, and say what is wrong with them"

PRINTED = 100
"""Problems printed one by one; past that, only how many of each reason. The index lists all."""
WIDTH = 150
"""Columns of a table where it goes into a file or a pipe."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "shards",
        nargs="+",
        help="folders of .tar shards, or of train/ and held_out/; or URLs (http, https, s3, gs, hf)",
    )
    parser.add_argument("--verify", action="store_true", help="decode every sample once, leave out what cannot be")
    parser.add_argument("--strict", action="store_true", help="write no index where something is wrong")
    parser.add_argument("--workers", type=int, default=None, help="processes (one a core)")
    parser.add_argument(
        "--out", type=Path, default=Path("index.wdx"), help="file for the index of a URL, to be put beside its shards"
    )


def run(shards: Sequence[str], verify: bool, strict: bool, workers: int | None, out: Path) -> int:
    """Exit status 0: all is well; 1: something is wrong with the shards, and was left out."""
    from rich.console import Console
    from rich.text import Text

    from datamodules.index_file import INDEX_FILE
    from datamodules.processes import cores

    if workers is not None and workers < 1:
        raise UsageError(f"--workers is {workers}; expected 1 or more")
    places = [place for given in shards for place in places_of(given)]
    if len(places) > 1 and any(not isinstance(place, Path) for place in places):
        raise UsageError("one URL at a time: --out names one file")
    with one_sentence():
        indexes = [_index(place, verify, strict, workers or cores(), out) for place in places]
    status = _report(indexes, strict)
    if isinstance(places[0], str) and not (strict and status):
        Console().print(Text(f"wrote {out}; put it beside the shards, as {places[0]}/{INDEX_FILE}"), soft_wrap=True)
    return status


def _index(place: Path | str, verify: bool, strict: bool, workers: int, out: Path) -> "Index":
    from datamodules.index import build_index, build_remote_index, saved_index, shards_of

    if isinstance(place, str):
        return build_remote_index(place, out, verify=verify, workers=workers, strict=strict)
    shards_of(place)
    saved = saved_index(place)
    if saved is not None and saved.verified >= verify and not (strict and saved.problems):
        return saved
    return build_index(place, verify=verify, workers=workers, strict=strict)


def _report(indexes: Sequence["Index"], strict: bool) -> int:
    """Print what was found; the exit status."""
    from rich.console import Console
    from rich.text import Text

    console = Console()
    if not console.is_terminal:
        console = Console(width=WIDTH)
    console.print(_table_of_indexes(indexes))
    for index in indexes:
        if index.repeated_keys:
            said = (
                f"{index.name}: {index.repeated_keys} samples share their key across shards; they are named key@shard"
            )
            console.print(Text(said))
    problems = [(index, problem) for index in indexes for problem in index.problems]
    if not problems:
        return 0
    console.print(_table_of_problems(problems))
    if len(problems) > PRINTED:
        for reason, times in Counter(problem.reason for _, problem in problems).most_common(PRINTED):
            console.print(Text(f"{times:8d}  {reason}"))
    console.print("no index was written" if strict else "all of these were left out, and are listed in the index")
    return 1


def _table_of_indexes(indexes: Sequence["Index"]) -> "Table":
    from rich.table import Table
    from rich.text import Text

    table = Table("place", "shards", "samples", "GB", "members", "problems", "verified", "fingerprint")
    for index in indexes:
        table.add_row(
            Text(index.name),
            str(len(index.shards)),
            str(len(index)),
            f"{index.shard_bytes / 1e9:.3f}",
            Text(", ".join(index.member_names)),
            str(len(index.problems)),
            "yes" if index.verified else "no",
            index.digest,
        )
    return table


def _table_of_problems(problems: Sequence[tuple["Index", "Problem"]]) -> "Table":
    from rich.table import Table
    from rich.text import Text

    shown = f", the first {PRINTED}" if len(problems) > PRINTED else ""
    table = Table("place", "shard", "sample", "what is wrong", title=f"{len(problems)} problems{shown}")
    for index, problem in problems[:PRINTED]:
        table.add_row(Text(index.name), Text(problem.shard), Text(problem.key or "-"), Text(problem.reason))
    return table
