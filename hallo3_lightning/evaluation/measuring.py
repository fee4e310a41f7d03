"""Making features of every clip that lacks them: one decode a clip, in any number of processes."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import torch

from datamodules.bad_sample import BadSample
from datamodules.prepare.faces import FaceFinder, FoundFaces
from datamodules.processes import spread
from datamodules.video.video_file import VideoFile
from hallo3_lightning.evaluation.feature import feature, measured
from hallo3_lightning.evaluation.folders import Pairing, Video
from hallo3_lightning.evaluation.footage import Footage, Framing, Measured, Unscorable, shoot
from hallo3_lightning.evaluation.kept import Store
from hallo3_lightning.evaluation.networks import Networks

UNREADABLE = "unreadable video:"
"""What the status of a clip begins with that cannot be decoded."""
BORROWED = "no sound of its own: heard with that of the clip of the other side"
DETECTION = 0.3
"""Seconds of one core that SCRFD takes for a frame."""
CUT = "longer than the clip of the other side: cut to that"


@dataclass(frozen=True)
class Plan:
    """What is to be made, and why some of it cannot."""

    fingerprints: Mapping[str, Mapping[str, str]]
    """Side -> feature -> what it depends on; without those that cannot be made."""
    lacking: Mapping[str, tuple[str, ...]]
    """Feature -> short names of the networks without which it cannot be made, of one side or both."""


def plan(
    features: Sequence[str], networks: Networks, finders: Mapping[str, FaceFinder | None], framing: Framing
) -> Plan:
    """Which of the features can be made with what is there."""
    lacking = {
        name: absent
        for name in features
        if (
            absent := tuple(sorted({n for f in finders.values() for n in feature(name).lacks(networks, f is not None)}))
        )
    }
    fingerprints = {
        side: {
            name: f"{framing}; {feature(name).fingerprint(networks, finder.fingerprint if finder else 'none')}"
            for name in features
            if name not in lacking
        }
        for side, finder in finders.items()
    }
    return Plan(fingerprints, lacking)


@dataclass(frozen=True)
class Measure:
    """Makes the features that a clip lacks; travels to worker processes."""

    framing: Framing
    networks: Networks
    finders: Mapping[str, FaceFinder | None]
    store: Store
    fingerprints: Mapping[str, Mapping[str, str]]

    def __call__(self, video: Video) -> str:
        """Its name, when what was made of it is kept."""
        state = video.state  # before it is read: a video that changes while it is has to be done again
        lacking = self.store.missing(video, self.fingerprints[video.side])
        fingerprints = {name: self.fingerprints[video.side][name] for name in lacking}
        notes: list[str] = []
        frames = 0
        try:
            footage = shoot(video.path, video.clip, video.name, self.framing, self.finders[video.side], video.partner)
            frames = len(footage.frames)
            notes = _notes(footage, self.framing)
            with repeatable():
                made = {name: measured(name, footage, self.networks) for name in lacking}
        except BadSample as error:
            made = {name: Measured(status=f"{UNREADABLE} {error.reason}") for name in lacking}
        except Unscorable as reason:
            made = {name: Measured(status=reason.status) for name in lacking}
        self.store.save(video, state, frames, made, fingerprints, notes)
        return f"{video.side}/{video.clip}"


@contextmanager
def repeatable() -> Iterator[None]:
    """One thread and no shortcuts, so that neither the number of processes nor the day changes a bit."""
    threads, strict, short = (
        torch.get_num_threads(),
        torch.are_deterministic_algorithms_enabled(),
        torch.backends.cudnn.allow_tf32,
    )
    torch.set_num_threads(1)
    torch.use_deterministic_algorithms(True, warn_only=True)
    torch.backends.cudnn.allow_tf32 = False
    try:
        yield
    finally:
        torch.set_num_threads(threads)
        torch.use_deterministic_algorithms(strict)
        torch.backends.cudnn.allow_tf32 = short


def _notes(footage: Footage, framing: Framing) -> list[str]:
    notes = [BORROWED] if footage.borrowed_sound else []
    if footage.cut_to_pair:
        notes.append(CUT)
    if framing.frames is not None and len(footage.frames) < framing.frames:
        notes.append(f"fewer than the protocol's {framing.frames} frames")
    return notes


def undone(pairing: Pairing, store: Store, plan: Plan) -> list[Video]:
    """The clips that lack a feature."""
    return [video for video in pairing.videos if store.missing(video, plan.fingerprints[video.side])]


def measure_all(videos: Sequence[Video], measure: Measure, workers: int) -> Iterator[str]:
    """Names of the clips as they are done."""
    yield from spread(measure, videos, workers)


def estimate(
    videos: Sequence[Video], features: Sequence[str], framing: Framing, finders: Mapping[str, FaceFinder | None]
) -> float:
    """Seconds of one core, about, from the first clip that can be read and what each feature takes on one core."""
    for video in videos:
        try:
            facts = VideoFile(video.path).facts
        except BadSample:
            continue
        frames = min(facts.frames, framing.frames or facts.frames)
        height, width = framing.size or (facts.height, facts.width)
        each = sum(feature(name).seconds(frames, height, width) for name in features)
        looked = DETECTION * frames if any(isinstance(finder, FoundFaces) for finder in finders.values()) else 0.0
        return (each + looked) * len(videos)
    return 0.0
