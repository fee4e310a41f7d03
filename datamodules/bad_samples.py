"""The bad samples that training met: counted by reason, listed in a file, and too many of them stop the run."""

import json
import logging
from collections import Counter
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path

from hallo3_lightning.batch import Bad, Batch
from hallo3_lightning.errors import UsageError

LEAST = 100
"""Clips that a share is counted of at the least: the first bad sample of a run is not yet too many."""

log = logging.getLogger(__name__)


class BadSamples:
    """Counts what one process meets, and writes each bad sample once, as a line of JSON, into a file of its own.

    Args:
        max_fraction: share of the clips that bad samples may reach.
        strict: whether the first one is already too many.
        file: where they are listed; None for nowhere.
    """

    def __init__(self, max_fraction: float, strict: bool, file: Path | None) -> None:
        self.max_fraction = max_fraction
        self.strict = strict
        self.file = file
        self.clips = 0
        self.reasons: Counter[str] = Counter()
        self._listed = _listed(file)

    def take(self, batch: Batch) -> None:
        """Count a batch that is about to be used. Raises UsageError where its bad samples are too many."""
        self.clips += len(batch)
        for bad in batch.bad:
            self._take(bad)
        if batch.bad and self.reasons.total() > self.max_fraction * max(self.clips, LEAST):
            raise UsageError(
                f"{self.reasons.total()} of {self.clips} clips met a bad sample ({self.said()}), more than "
                f"data.max_bad_fraction {self.max_fraction} allows; the last one: {batch.bad[-1].message}"
            )

    def say_total(self) -> None:
        """One line for all, where there were any."""
        if self.reasons:
            log.warning("%d of %d clips met a bad sample: %s", self.reasons.total(), self.clips, self.said())

    def said(self) -> str:
        """How many for which reason."""
        return ", ".join(f"{count} {reason}" for reason, count in self.reasons.most_common())

    def _take(self, bad: Bad) -> None:
        if self.strict:
            raise UsageError(f"{bad.message} (data.strict: {bad.reason} in {bad.shard})")
        self.reasons[bad.reason] += 1
        if self.reasons[bad.reason] == 1:
            where = f"; all are listed in {self.file}" if self.file else ""
            log.warning("bad sample, another stands in for it: %s (so far: %s%s)", bad.message, self.said(), where)
        if self.file is not None and (bad.shard, bad.key) not in self._listed:
            self._listed.add((bad.shard, bad.key))
            self.file.parent.mkdir(parents=True, exist_ok=True)
            with self.file.open("a") as file:
                file.write(json.dumps(asdict(bad)) + "\n")


def _listed(file: Path | None) -> set[tuple[str, str]]:
    """What a process before this one has listed."""
    if file is None or not file.is_file():
        return set()
    found = set()
    for line in file.read_text().splitlines():
        with suppress(ValueError):  # a torn line
            bad = json.loads(line)
            found.add((bad["shard"], bad["key"]))
    return found
