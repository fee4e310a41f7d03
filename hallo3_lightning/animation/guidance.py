"""Classifier-free guidance by one scale or several: which branches run, and how they make one prediction.

With scales s_1 ... s_n of conditions, branch k has the first k of them and lacks the others:
v = v_0 + s_1 (v_1 - v_0) + ... + s_n (v_n - v_{n-1}). Equal scales make this v_0 + s (v_n - v_0), guidance by all at once;
scales of 1 leave v_n. A branch whose factor is zero is not run.
Source: arXiv 2207.12598 for one scale, in the form u + s (c - u); arXiv 2211.09800, equation 3, for a chain of two.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from torch import Tensor

from hallo3_lightning.batch import Batch
from hallo3_lightning.conditioning.dropout import FIELDS, GROUPS, without


@dataclass(frozen=True)
class Link:
    """The conditions that one branch has more than the one before it, and the scale of what they change."""

    conditions: tuple[str, ...]
    scale: float


@dataclass(frozen=True)
class Chain:
    """The branches that run: the first lacks `absent`, each link then brings some of it back."""

    absent: tuple[str, ...]
    links: tuple[Link, ...]

    @property
    def num_branches(self) -> int:
        return 1 + len(self.links)

    def branches(self, clip: Batch) -> list[Batch]:
        """The clip as each branch sees it, the poorest first. A field is one object in all that have it or lack it."""
        bare, lacking = without(clip, self.absent), list(self.absent)
        found = [bare]
        for link in self.links:
            lacking = [name for name in lacking if name not in link.conditions]
            found.append(clip.with_(**{FIELDS[name]: getattr(bare, FIELDS[name]) for name in lacking}))
        return found

    def guided(self, predictions: Sequence[Tensor]) -> Tensor:
        """One prediction from those of the branches."""
        whole = predictions[0]
        for link, before, after in zip(self.links, predictions, predictions[1:], strict=False):
            whole = whole + link.scale * (after - before)
        return whole


def chain(guidance: float | Mapping[str, float], guided: Sequence[str]) -> Chain:
    """The branches of one scale for all of `guided`, or of a scale for each condition, in the order of GROUPS.

    Neighbours of equal scale are one link. A first scale of 1 needs no branch without its conditions, a last one of 0
    none with them.
    """
    scales = guidance if isinstance(guidance, Mapping) else None
    links = [Link(tuple(guided), guidance)] if scales is None else _merged(scales)  # type: ignore[arg-type]
    absent = tuple(name for link in links for name in link.conditions)
    if links and links[0].scale == 1:
        absent = tuple(name for name in absent if name not in links[0].conditions)
        links = links[1:]
    return Chain(absent, tuple(links[:-1] if links and links[-1].scale == 0 else links))


def _merged(scales: Mapping[str, float]) -> list[Link]:
    links: list[Link] = []
    for name in GROUPS:
        if name not in scales:
            continue
        if links and links[-1].scale == scales[name]:
            links[-1] = Link((*links[-1].conditions, *GROUPS[name]), scales[name])
        else:
            links.append(Link(GROUPS[name], scales[name]))
    return links
