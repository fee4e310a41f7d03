"""Who is trained on and who is held out: a person is never both."""

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from hallo3_lightning.errors import UsageError, unknown

TRAIN, HELD_OUT = "train", "held_out"

MOST_LISTED = 20
"""Identities in an error message."""


@dataclass(frozen=True)
class Split:
    """The rule: named identities, or a share of all by a hash of the name."""

    share: float = 0.0
    named: tuple[str, ...] | None = None

    def check(self, identities: Iterable[str]) -> None:
        """Raise UsageError for a named identity that there is not."""
        known = sorted(set(identities))
        for name in self.named or ():
            if name not in known:
                raise unknown("identity", name, known[:MOST_LISTED], "the videos; --held-out names it")

    def of(self, identities: Iterable[str]) -> dict[str, str]:
        """Identity -> train or held_out.

        By hash, an identity stays where it is when others come; only where that would leave a side empty, the nearest
        identity changes sides, so that there is something to train on and something to test on.
        """
        known = sorted(set(identities), key=lambda identity: (_draw(identity), identity))
        if self.named is not None:
            held_out = set(self.named)
        else:
            count = sum(_draw(identity) < self.share for identity in known)
            if len(known) > 1 and 0 < self.share < 1:
                count = min(max(count, 1), len(known) - 1)
            held_out = set(known[:count])
        return {identity: HELD_OUT if identity in held_out else TRAIN for identity in known}


def _draw(identity: str) -> float:
    """In [0, 1), by the name alone."""
    digest = hashlib.blake2b(f"held_out/{identity}".encode(errors="surrogateescape"), digest_size=8).digest()
    return int.from_bytes(digest, "big") / 2**64


def read_split(told: str) -> Split:
    """What --held-out says: a share between 0 and 1, or a text file with one identity a line."""
    try:
        share = float(told)
    except ValueError:
        return Split(named=_identities(Path(told)))
    if not 0 <= share <= 1:
        raise UsageError(f"--held-out is {told}; a share is between 0 and 1, such as 0.05")
    return Split(share=share)


def _identities(file: Path) -> tuple[str, ...]:
    if not file.is_file():
        raise UsageError(
            f"--held-out is {file}; expected a share such as 0.05, or a text file with one identity a line"
        )
    return tuple(sorted({line.strip() for line in file.read_text(encoding="utf-8").splitlines() if line.strip()}))
