"""Scores: every metric of a protocol over what features made of two sets of clips."""

import math
import statistics
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from hallo3_lightning.evaluation.alarms import Alarm
from hallo3_lightning.evaluation.floors import clip_floors, set_floor
from hallo3_lightning.evaluation.folders import SIDES, Pairing, Video
from hallo3_lightning.evaluation.footage import MEASURED
from hallo3_lightning.evaluation.kept import Store
from hallo3_lightning.evaluation.measuring import UNREADABLE, Plan
from hallo3_lightning.evaluation.networks import FILES
from hallo3_lightning.evaluation.published_metric import IN_SET, SCORED, ClipScore, Row, SetDistance, why_not
from hallo3_lightning.evaluation.recipe import Recipe
from hallo3_lightning.evaluation.rows_file import CONDITIONS, GENERATED, Scored, known_of
from hallo3_lightning.evaluation.told import Told
from hallo3_lightning.evaluation.video_alarms import alarms_of_videos
from hallo3_lightning.geometry import FPS

FEW_CLIPS = 30
"""Below which a mean over clips says little."""

TURNED = "expression/deep3d64"
"""The feature that tells how far a head is turned."""

SOURCES = {"real": "real", "fake": GENERATED}
"""What rows.jsonl calls the sides."""

FLOORS = {"real": "real_floor", "fake": "floor"}
"""What rows.jsonl calls what chance gives of the clips of each side."""


@dataclass(frozen=True)
class Scores:
    """Everything that is told of an evaluation."""

    metrics: Mapping[str, Mapping[str, Any]]
    """Of each metric that could be reckoned from the videos."""
    not_scored: Mapping[str, str]
    """Of each other one, why."""
    rows: Sequence[Mapping[str, Any]]
    """One a metric, side and clip."""
    notes: Mapping[str, int]
    """What is to be known of clips -> how many."""
    missing: Mapping[str, Mapping[str, Any]]
    """Weight files that are not there, and what each would add."""
    alarms: Sequence[Alarm] = ()
    told: Told = Told()
    """What whoever made the clips knows of them."""

    @property
    def complete(self) -> bool:
        """Whether every video could be read."""
        return not any(row.get("status", "").startswith(UNREADABLE) for row in self.rows)


def conditions_given(pairing: Pairing) -> Scored:
    """What a conditions.jsonl among the true videos says of them. Raises UsageError for one that cannot be read."""
    file = pairing.folders.get("real", Path()) / CONDITIONS
    return known_of(file, pairing.clips("real")) if pairing.paired and file.is_file() else Scored()


def score(
    recipe: Recipe,
    pairing: Pairing,
    store: Store,
    plan: Plan,
    told: Told,
    given: Scored,
) -> Scores:
    """The scores of all clips, each of which has its features kept; given: as `conditions_given` says."""
    metrics: dict[str, Mapping[str, Any]] = {}
    not_scored: dict[str, str] = {}
    rows: list[Mapping[str, Any]] = []
    for name, found in recipe.build().items():
        absent = sorted({network for feature in found.features for network in plan.lacking.get(feature, ())})
        if absent:
            not_scored[name] = "needs " + ", ".join(FILES[network].name for network in absent)
        elif lacks_real(found, pairing):
            not_scored[name] = "needs the true videos: --real FOLDER"
        elif isinstance(found, ClipScore):
            if found.needs_pair and not pairing.paired:
                not_scored[name] = "needs pairs of clips, and the folders are compared as sets"
                continue
            metrics[name], of_clips = _clip_scores(recipe, name, pairing, store)
            rows += of_clips
        else:
            metrics[name], of_clips = _set_distance(found, pairing, store)
            rows += of_clips
    rows += [*_conditions(pairing, store, plan, given), *told.rows]
    rung = [*told.alarms, *alarms_of_videos(rows)]
    return Scores(metrics, not_scored, rows, _notes(pairing, store), _missing(recipe, plan), rung, told)


def lacks_real(found: ClipScore | SetDistance, pairing: Pairing) -> bool:
    """Whether it compares with true videos, and there are none."""
    return "real" not in pairing.folders and (isinstance(found, SetDistance) or found.needs_pair)


def _conditions(pairing: Pairing, store: Store, plan: Plan, given: Scored) -> Iterator[dict[str, Any]]:
    """What is known of clips and may matter, of the real ones, lest a method choose its own: length in seconds where
    anything was looked at, mean |yaw| in degrees where expressions were, and what a conditions.jsonl among them says."""
    made = plan.fingerprints.get("real", {})
    for video in _of(pairing, "real") if pairing.paired else []:
        known = _seen(video, store, TURNED in made) if made else {}
        known |= {name: values[video.clip] for name, values in given.conditions.items() if video.clip in values}
        who = {"identity": given.identities[video.clip]} if video.clip in given.identities else {}
        if known or who:
            yield {"clip": video.clip, **who, "conditions": known}


def _seen(video: Video, store: Store, has_turns: bool) -> dict[str, float]:
    """What features say of the conditions of a clip."""
    kept = store.kept(video, [TURNED] if has_turns else [])
    known = {"length": kept.frames / FPS}
    if has_turns and kept.features[TURNED].status == MEASURED:
        known["yaw"] = float(kept[TURNED]["yaw"].abs().mean())
    return known


def _missing(recipe: Recipe, plan: Plan) -> dict[str, dict[str, Any]]:
    """Each weight file that is not there -> where it comes from, and the metrics that it would add."""
    wanted: dict[str, list[str]] = {}
    for name, found in recipe.build().items():
        for network in sorted({network for feature in found.features for network in plan.lacking.get(feature, ())}):
            wanted.setdefault(network, []).append(name)
    return {
        FILES[network].name: {
            "bytes": FILES[network].num_bytes,
            "sha256": FILES[network].sha256,
            "source": FILES[network].source,
            "would_add": names,
        }
        for network, names in wanted.items()
    }


def _clip_scores(recipe: Recipe, name: str, pairing: Pairing, store: Store) -> tuple[dict[str, Any], list[dict]]:
    """One number a clip, of the fake ones; and of the real ones, to read them beside."""
    summaries, rows = {}, []
    for side in pairing.folders:
        found = recipe.build()[name]
        assert isinstance(found, ClipScore)
        others = {video.clip: video for video in pairing.videos if video.side == "real"}
        for video in _of(pairing, side):
            real = others.get(video.clip) if found.needs_pair else None
            found.update(
                video.clip,
                store.kept(video, found.features),
                None if real is None else store.kept(real, found.features),
            )
        heard = _of(pairing, side) if found.has_floor else []
        floors = clip_floors(found, {video.clip: store.kept(video, found.features) for video in heard})
        summaries[side] = _summary(found.rows()) | ({"floor": _summary(floors)} if floors else {})
        rows += _told(found, SOURCES[side], found.rows()) + _told(found, FLOORS[side], floors)
    fake = summaries["fake"]
    return {
        **_description(found),
        **fake,
        "few": fake["n"] < FEW_CLIPS,
        "real": summaries.get("real", _summary({})),
    }, rows


def _set_distance(found: SetDistance, pairing: Pairing, store: Store) -> tuple[dict[str, Any], list[dict]]:
    """One number of both sets, and that of two halves of the real one, to read it beside."""
    for video in pairing.videos:
        found.update(video.side, video.clip, store.kept(video, found.features))
    sides = {side: found.clip_rows(side) for side in SIDES}
    rows = [row for side in SIDES for row in _told(found, SOURCES[side], found.rows(side))]
    reason = why_not(sides["real"], sides["fake"])
    value = None if reason else found.distance(sides["real"].of(), sides["fake"].of())
    floor = set_floor(found, sides["real"], sides["fake"])
    counts = {side: len(kept.rows) for side, kept in sides.items()}
    return {
        **_description(found),
        "value": value,
        "n": counts["fake"],
        "n_real": counts["real"],
        "of": len(pairing.clips("fake")),
        "frames_used": sum(len(kept) for kept in sides["fake"].rows.values()),
        "no_distance": reason or None,
        "statuses": _statuses(found.rows("fake").values()),
        "few": min(counts.values()) < found.few,
        "real": {
            "value": None if floor is None else floor.value,
            "statuses": _statuses(found.rows("real").values()),
            "halves": None if floor is None else asdict(floor),
        },
    }, rows


def _told(found: ClipScore | SetDistance, source: str, rows: Mapping[str, Row]) -> list[dict[str, Any]]:
    """Lines of rows.jsonl (rows_file.py says what is in one)."""
    about = {"metric": found.protocol, "unit": found.unit, "higher_is_better": found.higher_is_better}
    return [{"clip": clip, "source": source, **about, **asdict(row)} for clip, row in rows.items()]


def _of(pairing: Pairing, side: str) -> list[Video]:
    return [video for video in pairing.videos if video.side == side]


def _description(found: ClipScore | SetDistance) -> dict[str, Any]:
    return {
        "title": found.title,
        "protocol": found.protocol,
        "unit": found.unit,
        "higher_is_better": found.higher_is_better,
        "features": list(found.features),
    }


def _summary(rows: Mapping[str, Row]) -> dict[str, Any]:
    values = [row.value for row in rows.values() if row.value is not None]
    scored = [row for row in rows.values() if row.value is not None]
    frames = sum(row.frames for row in scored)
    return {
        "value": math.fsum(values) / len(values) if values else None,
        "std_error": statistics.stdev(values) / math.sqrt(len(values)) if len(values) > 1 else None,
        "n": len(values),
        "of": len(rows),
        "frames_used": sum(row.used for row in scored) / frames if frames else None,
        "statuses": _statuses(rows.values()),
    }


def _statuses(rows: Any) -> dict[str, int]:
    """Why clips have no number -> how many."""
    return dict(sorted(Counter(row.status for row in rows if row.status not in (SCORED, IN_SET)).items()))


def _notes(pairing: Pairing, store: Store) -> dict[str, int]:
    records = [(video.side, store.record(video)) for video in pairing.videos]
    found = Counter(f"{side}: {note}" for side, record in records if record is not None for note in record.notes)
    for side, clips in pairing.alone.items():
        if clips:
            found[f"{side}: the other folder has no clip of that name, not looked at"] = len(clips)
    return dict(sorted(found.items()))
