"""Every metric there is: its id, its unit, which way is better, and what it needs."""

from collections.abc import Sequence
from dataclasses import dataclass

from hallo3_lightning.evaluation.feature import Feature, feature
from hallo3_lightning.evaluation.networks import FILES, Networks
from hallo3_lightning.evaluation.published_metric import ClipScore, SetDistance, known_metrics, metric
from hallo3_lightning.find import find, names

BETTER = {True: "higher", False: "lower", None: "as true clips"}
TRUTH = "truth/"
"""What the ids of metrics of procedural heads begin with."""


@dataclass(frozen=True)
class Entry:
    """One metric."""

    protocol: str
    title: str
    unit: str
    better: str
    """higher, lower, or as true clips have it."""
    needs: tuple[str, ...]
    """Weight files by name, and what else must be there."""
    lacks: tuple[str, ...]
    """Weight files that are not there."""


def catalogue(networks: Networks) -> list[Entry]:
    """All metrics, given the weight files of a folder: those of other projects, then those of procedural heads."""
    return [
        *(_published(protocol, networks) for protocol in known_metrics()),
        *(_truth(name) for name in names("evaluation.metrics")),
    ]


def _published(protocol: str, networks: Networks) -> Entry:
    found = metric(protocol)
    features = [feature(name) for name in found.features]
    files, with_faces, absent = (
        dict.fromkeys(FILES[name].name for one in features for name in one.lacks(there, has_faces))
        for there, has_faces in ((Networks(), False), (Networks(), True), (networks, False))
    )
    weights = [file if file in with_faces else f"{file} or a faces.jsonl" for file in files]
    needs = (*weights, *dict.fromkeys(_beside_weights(found, features)))
    return Entry(protocol, found.title, found.unit, BETTER[found.higher_is_better], needs, tuple(absent))


def _beside_weights(found: ClipScore | SetDistance, features: Sequence[Feature]) -> list[str]:
    needs = [f"x{end} beside x.mp4" for one in features for end in one.beside]
    if any(one.needs_sound for one in features):
        needs.append("sound")
    if isinstance(found, SetDistance):
        needs.append("a set of true clips")
    elif found.needs_pair:
        needs.append("the true clip")
    return needs


def _truth(name: str) -> Entry:
    found = find("evaluation.metrics", name)
    needs = tuple("the true clip" if need == "video" else f"its {need.removeprefix('truth.')}" for need in found.needs)
    return Entry(f"{TRUTH}{name}", name.replace("_", " "), found.unit, BETTER[found.higher_is_better], needs, ())
