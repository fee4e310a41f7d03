"""What became of the takes, as lines for a program and as a table for a person."""

import json
import os
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from datamodules.prepare.splits import HELD_OUT, TRAIN
from datamodules.prepare.verdict import KEPT, REASONS, Verdict
from hallo3_lightning.geometry import seconds

VERDICTS = "verdicts.jsonl"


@dataclass(frozen=True)
class Summary:
    """The verdicts of a data set, in order."""

    verdicts: Sequence[Verdict]

    @property
    def kept(self) -> int:
        """Takes."""
        return sum(verdict.kept for verdict in self.verdicts)

    @property
    def dropped_share(self) -> float:
        """Of all verdicts: takes, and videos of which nothing could be made."""
        return 1 - self.kept / len(self.verdicts)

    def sentence(self, out: Path) -> str:
        """What there is to train and to test on."""
        takes = Counter(verdict.split for verdict in self.verdicts if verdict.kept)
        people = {split: len({v.identity for v in self.verdicts if v.split == split}) for split in (TRAIN, HELD_OUT)}
        hours = seconds(sum(verdict.frames for verdict in self.verdicts if verdict.kept)) / 3600
        said = (
            f"{out}: kept {self.kept} of {len(self.verdicts)} takes, {hours:.3f} h: {takes[TRAIN]} to train on "
            f"({people[TRAIN]} identities), {takes[HELD_OUT]} held out ({people[HELD_OUT]} identities)"
        )
        if self.kept and not takes[HELD_OUT]:
            said += "; training needs held-out takes too: give a larger --held-out, or videos of more than one identity"
        return said

    def write(self, folder: Path) -> None:
        """folder/verdicts.jsonl, one line a verdict."""
        partial = folder / f"{VERDICTS}.partial"
        partial.write_text("".join(json.dumps(asdict(verdict)) + "\n" for verdict in self.verdicts))
        partial.replace(folder / VERDICTS)

    def show(self, console: Console, out: Path, drop_limit: float) -> None:
        """Print how many takes were kept and dropped, by reason, and what that means; `out` is where they are."""
        console.print(self.table())
        console.print(self.sentence(out), markup=False, highlight=False, soft_wrap=True)
        if self.dropped_share > drop_limit:
            said = (
                f"{self.dropped_share:.0%} of the takes were dropped, more than --drop-limit {drop_limit:.0%}: what was "
                f"kept can be used, and {out / VERDICTS} says why the rest was not"
            )
            console.print(said, markup=False, highlight=False, soft_wrap=True)

    def table(self) -> Table:
        """Takes by verdict, with their length and the first of each."""
        counts = Counter(verdict.verdict for verdict in self.verdicts)
        table = Table("verdict", "takes", "hours", "what it says", "first of them")
        for name in [KEPT, *REASONS]:
            if counts[name]:
                those = [verdict for verdict in self.verdicts if verdict.verdict == name]
                hours = seconds(sum(verdict.frames for verdict in those)) / 3600
                video = os.fsencode(those[0].video).decode(errors="replace")
                first = f"{video} ({those[0].detail})" if those[0].detail else video
                table.add_row(name, str(counts[name]), f"{hours:.3f}", REASONS.get(name, ""), escape(first))
        return table
