"""One pass over a video, before anything is written: where its scenes end, and where its faces are."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from datamodules.prepare.cuts import cuts, signature
from datamodules.prepare.face import Face, FaceFinder
from datamodules.prepare.frames import in_turn
from datamodules.prepare.framing import Box
from datamodules.prepare.settings import Settings
from datamodules.prepare.takes import Take
from datamodules.prepare.verdict import Dropped
from datamodules.video.video_file import VideoFile


@dataclass(frozen=True)
class Survey:
    """What is seen in a video."""

    cuts: tuple[int, ...]
    """Frames that begin another scene."""
    faces: Mapping[int, list[Face]] | None
    """Of the frames that were looked at, largest first; None if nobody looked."""


def survey(video: VideoFile, name: str, settings: Settings, finder: FaceFinder | None) -> Survey:
    """Look at every frame for cuts, and at every `face_every`-th for faces; memory does not grow with the pictures.

    Raises Dropped for a video of which a frame cannot be decoded.
    """
    seen: list[np.ndarray] = []
    faces: dict[int, list[Face]] = {}
    for number, frame in enumerate(in_turn(video, 0, video.facts.frames)):
        if settings.cuts != "ignore":
            seen.append(signature(frame))
        if finder is not None and number % settings.face_every == 0:
            faces[number] = finder.faces(frame, name, number)
    found = cuts(np.stack(seen)) if seen else []
    return Survey(tuple(found), None if finder is None else faces)


def faces_of(take: Take, seen: Survey) -> dict[int, list[Face]]:
    """The frames of a take that were looked at."""
    return {number: found for number, found in (seen.faces or {}).items() if take.first <= number < take.last}


def check_faces(faces: Mapping[int, list[Face]], settings: Settings) -> None:
    """Raise Dropped for a take in which the speaker is not to be seen, or not alone."""
    looked = len(faces)
    shown = sum(bool(found) for found in faces.values())
    if shown == 0 or shown < settings.face_share * looked:
        raise Dropped("no face", f"in {looked - shown} of {looked} frames")
    crowded = sum(len(found) > 1 and _counts(found, settings) for found in faces.values())
    if crowded > (1 - settings.face_share) * looked:
        raise Dropped("several faces", f"in {crowded} of {looked} frames")


def _counts(found: list[Face], settings: Settings) -> bool:
    return found[1].area >= settings.second_face * found[0].area


def union(faces: Mapping[int, list[Face]]) -> Box:
    """The box around the largest face of every frame. In between, a face that moves steadily stays within it."""
    boxes = np.array([found[0].box for found in faces.values() if found])
    x0, y0 = boxes[:, :2].min(0).tolist()
    x1, y1 = boxes[:, 2:].max(0).tolist()
    return x0, y0, x1, y1


def embedding_of(video: VideoFile, name: str, faces: Mapping[int, list[Face]], finder: FaceFinder) -> np.ndarray | None:
    """Of the largest face of the first frame that shows one, not normalised, [E] float32; None where it is not known.

    Source: fudan-generative-vision/hallo3, hallo3/sgm/utils/image_processor.py: one vector a video, so taken.
    """
    for number, found in faces.items():
        if found:
            return finder.embedding(video.frames(number, number + 1)[0], found[0])
    return None
