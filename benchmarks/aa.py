"""Grids of arms, equal or not: how often `hallo3 compare` calls two of them different.

Scores are simulated with the scatter that mouth correlation had in trained runs at tiny size (two seeds of
cross-attention and adaLN, 48 clips each): 0.18 between clips whatever the network, 0.10 between networks on one clip, 0.02
between the means of networks. Half of the clips' scatter and some of the networks' is that of the clip's identity.
Differences are called by what `compare` calls them by: p of pairs, corrected by Holm over arms and headline metrics, below
0.05. In the equal grids any two arms in any metric count, in the planted ones the metric that the effect was planted in.
"""

import argparse
import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.table import Table

from hallo3_lightning.ablation.differences import ClipQuestion, against, among
from hallo3_lightning.ablation.verdict import verdicts
from hallo3_lightning.evaluation.statistics import Rows, paired

BETWEEN_IDENTITIES = 0.127
BETWEEN_CLIPS = 0.127
NETWORK = 0.02
"""Deviation of a trained network's mean over all clips."""
NETWORK_ON_IDENTITY = 0.06
NETWORK_ON_CLIP = 0.08
"""Sampling noise too."""
METRICS = 3
"""Headline metrics of a table, independent of each other, the worst case for a correction."""
ALPHA = 0.05
"""What the share of wrongly called grids must not be above."""
WANTED_POWER = 0.9
"""Share of planted effects that must be found; `ratio` is what was found over it."""


@dataclass(frozen=True)
class Design:
    """What one simulated arm has."""

    identities: int = 24
    clips: int = 2
    seeds: int = 3


def arms(design: Design, effect: float, rng: np.random.Generator, count: int = 2) -> list[list[Rows]]:
    """The rows of each arm on the same clips, one mapping a seed; the first is better by `effect` on average."""
    people, clips, seeds = design.identities, design.clips, design.seeds
    easy = rng.normal(0, BETWEEN_IDENTITIES, (people, 1)) + rng.normal(0, BETWEEN_CLIPS, (people, clips))
    network = rng.normal(0, NETWORK, (count, seeds, 1, 1))
    network = network + rng.normal(0, NETWORK_ON_IDENTITY, (count, seeds, people, 1))
    scores = 0.5 + easy + network + rng.normal(0, NETWORK_ON_CLIP, (count, seeds, people, clips))
    scores[0] += effect
    return [[_rows(table) for table in arm] for arm in scores]


def _rows(table: np.ndarray) -> Rows:
    return {f"take {person}-{clip}": float(score) for person, row in enumerate(table) for clip, score in enumerate(row)}


def identities(design: Design) -> dict[str, str]:
    """Clip -> whom it shows, of the clips of `arms`."""
    return {
        f"take {person}-{k}": f"person {person}" for person in range(design.identities) for k in range(design.clips)
    }


def called(design: Design, effect: float, rng: np.random.Generator, count: int = 2) -> list[bool]:
    """Whether each metric of one grid has arms that are called different; the effect is planted in the first."""
    names = [f"metric {i}" for i in range(METRICS)]
    questions = [
        ClipQuestion(
            name,
            True,
            {f"arm {i}": rows for i, rows in enumerate(arms(design, effect * (not k), rng, count))},
            identities=identities(design),
        )
        for k, name in enumerate(names)
    ]
    last = f"arm {count - 1}"
    said = verdicts(questions, against(questions, last, names), among(questions, names), last, names, {})
    return [verdict["found"] for verdict in said]


def rates(design: Design, grids: int, effect: float, seed: int = 0, count: int = 2) -> dict[str, float]:
    """false_positive_rate over `grids` equal grids, power over as many with the effect."""
    rng = np.random.default_rng(seed)
    wrong = sum(any(called(design, 0.0, rng, count)) for _ in range(grids))
    found = sum(called(design, effect, rng, count)[0] for _ in range(grids))
    return {"false_positive_rate": wrong / grids, "power": found / grids}


def show(result: dict[str, float], detectable: float) -> None:
    page = Table("what", "value")
    for name, value in {**result, "detectable in a grid": round(detectable, 3)}.items():
        page.add_row(name.replace("_", " "), f"{value:g}")
    Console().print(page)


def main() -> None:
    """Print the rates; exit status 1 where they are not what they should be."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--grids", type=int, default=200, help="equal grids, and as many planted ones (%(default)s)")
    parser.add_argument("--effect", type=float, default=0.15, help="planted difference of means (%(default)s)")
    parser.add_argument("--identities", type=int, default=Design.identities, help="(%(default)s)")
    parser.add_argument("--seeds", type=int, default=Design.seeds, help="training seeds an arm (%(default)s)")
    parser.add_argument("--arms", type=int, default=2, help="arms of a grid (%(default)s)")
    parser.add_argument("--seed", type=int, default=0, help="of the simulation (%(default)s)")
    parser.add_argument("--json", type=Path, default=None, help="write the numbers to this file")
    given = parser.parse_args()
    design = Design(identities=given.identities, seeds=given.seeds)
    measured = rates(design, given.grids, given.effect, given.seed, given.arms)
    first, second = arms(design, 0.0, np.random.default_rng(given.seed))
    detectable = paired(first, second, identities(design)).detectable
    result = {**measured, "effect": given.effect, "grids": given.grids, "metrics": METRICS, "arms": given.arms}
    result |= vars(design)
    result |= {"ratio": measured["power"] / WANTED_POWER}
    show(result, detectable)
    if given.json is not None:
        given.json.write_text(json.dumps(result, indent=1) + "\n")
    raise SystemExit(int(measured["false_positive_rate"] > ALPHA or measured["power"] < WANTED_POWER))


if __name__ == "__main__":
    main()
