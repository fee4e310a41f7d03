"""Building an index: every tar walked and hashed once, by several processes, and decoded once if asked."""

import hashlib
import json
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial

import numpy as np
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from datamodules.form import Form
from datamodules.index_file import MOST_MEMBERS, NOTHING, Contents, Shard
from datamodules.processes import spread
from datamodules.scan import Problem, content_digest, scan
from datamodules.shards import DECODERS
from datamodules.stores import LocalStore, Stat, Store, tag_digest
from datamodules.verifying import misfits
from datamodules.verifying import verify as check_all

QUIET = 8
"""So few shards are indexed without showing progress."""

MOST_PROBLEMS = 200_000
"""Problems that an index lists; what is left out past it is only counted."""


@dataclass(frozen=True)
class Part:
    """One shard's share of an index."""

    shard: Shard
    members: tuple[str, ...]
    table: np.ndarray
    """[samples, members, 2] int64."""
    keys: tuple[bytes, ...]
    problems: tuple[Problem, ...]
    forms: tuple[Form | None, ...] | None = None
    """Of each sample, where they were verified."""


def build(
    store: Store,
    shards: Sequence[str],
    *,
    verify: bool = False,
    workers: int = 1,
    digest: Callable[[Store, str, int], str] | None = None,
) -> Contents:
    """The index of the shards, the same for any number of workers.

    verify: decode every sample once and leave out those that cannot be. digest: of a shard's bytes; by default its
    content for a local store, and for others their own tag, as reading all of a remote shard costs what it costs.
    """
    by_tag = digest is None and not isinstance(store, LocalStore)
    digest = digest or (_tag_digest_of if by_tag else content_digest)
    work = partial(_part, store, verify, digest)
    columns = TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn()
    parts = []
    with Progress(
        *columns, console=Console(stderr=True), transient=True, disable=not verify and len(shards) < QUIET
    ) as progress:
        task = progress.add_task("verifying shards" if verify else "indexing shards", total=len(shards))
        for part in spread(work, shards, max(min(workers, len(shards)), 1)):
            parts.append(part)
            progress.advance(task)
    parts = sorted(parts, key=lambda part: part.shard.name)
    contents = joined(_alike(parts) if verify else parts, verified=verify)
    return replace(contents, by_tag=by_tag)


def joined(parts: Sequence[Part], verified: bool = False) -> Contents:
    """One index of all parts, which stand in the order of shard names."""
    members = kept_members(Counter(name for part in parts for name in part.members))
    column = {name: number for number, name in enumerate(members)}
    keys, repeated = _distinguished(parts)
    table = np.full((len(keys), len(members), 2), -1, np.int64)
    first = 0
    for part in parts:
        theirs = [number for number, name in enumerate(part.members) if name in column]
        ours = [column[part.members[number]] for number in theirs]
        table[first : first + part.shard.samples, ours] = part.table[:, theirs]
        first += part.shard.samples
    key_bytes = b"".join(keys)
    shards = tuple(part.shard for part in parts)
    return Contents(
        shards=shards,
        members=members,
        table=table,
        key_ends=np.cumsum([0, *map(len, keys)], dtype=np.int64),
        keys=np.frombuffer(key_bytes, np.uint8),
        problems=_listed([problem for part in parts for problem in part.problems]),
        digest=_digest(shards, key_bytes),
        verified=verified,
        repeated_keys=repeated,
    )


def kept_members(counts: Counter[str]) -> tuple[str, ...]:
    """The names that an index keeps, sorted: those that are ever read first, then the commonest."""
    order = sorted(counts, key=lambda name: (name not in DECODERS, -counts[name], name))
    return tuple(sorted(order[:MOST_MEMBERS]))


def _part(store: Store, verify: bool, digest: Callable[[Store, str, int], str], shard: str) -> Part:
    if isinstance(store, LocalStore) and not (store.folder / shard).exists():
        gone = Problem(shard, "", "a link to nothing; mend the link or remove it")
        return Part(Shard(shard, 0, NOTHING, 0), (), np.zeros((0, 0, 2), np.int64), (), (gone,), () if verify else None)
    found, forms = scan(store, shard), None
    if verify:
        undecodable, forms = check_all(store, found)
        found.problems += undecodable
    members = kept_members(Counter(name for sample in found.samples.values() for name in sample))
    column = {name: number for number, name in enumerate(members)}
    table = np.full((len(found.samples), len(members), 2), -1, np.int64)
    for row, sample in zip(table, found.samples.values(), strict=True):
        for name, extent in sample.items():
            if name in column:
                row[column[name]] = extent
    described = Shard(shard, found.bytes, digest(store, shard, found.bytes), len(found.samples))
    keys = tuple(key.encode() for key in found.samples)
    return Part(described, members, table, keys, tuple(found.problems), None if forms is None else tuple(forms))


def _alike(parts: Sequence[Part]) -> list[Part]:
    """The parts without samples that are not like the commonest ones of all of them."""
    reasons = misfits([form for part in parts for form in part.forms or ()])
    kept, first = [], 0
    for part in parts:
        theirs = {row: reasons[first + row] for row in range(part.shard.samples) if first + row in reasons}
        first += part.shard.samples
        kept.append(_without(part, theirs) if theirs else part)
    return kept


def _without(part: Part, reasons: Mapping[int, str]) -> Part:
    """A part without some rows, by the reason for each."""
    rows = [row for row in range(part.shard.samples) if row not in reasons]
    told = [Problem(part.shard.name, part.keys[row].decode(), reason) for row, reason in reasons.items()]
    return replace(
        part,
        shard=replace(part.shard, samples=len(rows)),
        table=part.table[rows],
        keys=tuple(part.keys[row] for row in rows),
        problems=(*part.problems, *told),
    )


def _tag_digest_of(store: Store, shard: str, size: int) -> str:
    return tag_digest(Stat(size, store.stat(shard).tag))


def _digest(shards: Iterable[Shard], keys: bytes) -> str:
    named = json.dumps([[shard.name, shard.digest, shard.samples] for shard in shards])
    return hashlib.blake2b(named.encode() + keys, digest_size=8).hexdigest()


def _distinguished(parts: Sequence[Part]) -> tuple[list[bytes], int]:
    """All keys, those that stand in several shards as key@shard, which no key of a tar can be; and how many those are."""
    times = Counter(key for part in parts for key in part.keys)
    if len(times) == sum(len(part.keys) for part in parts):
        return [key for part in parts for key in part.keys], 0
    keys = [
        key if times[key] == 1 else key + b"@" + part.shard.name.encode(errors="replace")
        for part in parts
        for key in part.keys
    ]
    return keys, sum(times[key] for key in times if times[key] > 1)


def _listed(problems: list[Problem]) -> tuple[Problem, ...]:
    if len(problems) <= MOST_PROBLEMS:
        return tuple(problems)
    return (*problems[:MOST_PROBLEMS], Problem("", "", f"{len(problems) - MOST_PROBLEMS} more problems, not listed"))
