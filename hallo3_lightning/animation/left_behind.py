"""What an earlier making left where a film goes: the film to go on with, the finished one, or somebody else's file."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from hallo3_lightning.animation.facts import told_by
from hallo3_lightning.animation.film import BEGINNING, Place
from hallo3_lightning.animation.frames_film import frames_beside, picture
from hallo3_lightning.animation.mp4_boxes import boxes
from hallo3_lightning.animation.unfinished import differing

Left = Literal["growing", "finished", "other"]


def left_at(path: Path, kind: str, place: Place, facts: Mapping[str, Any]) -> Left:
    """What is there of the film of these facts, whose making had come to that place; nothing is changed.

    A kill between the film's last form and the end of its making leaves the finished one, which must not be cut back to a
    place in the growing one. "other" is also what was deleted or cut shorter.
    """
    looks = {"mp4": _left_of_mp4, "npz": _left_of_npz, "png": _left_of_pictures}
    told = told_by(path)
    return looks[kind](path, place, told is not None and not differing(told, facts))


def _left_of_mp4(path: Path, place: Place, is_same: bool) -> Left:
    if place == BEGINNING and _is_empty(path):
        return "growing"
    parts = _parts(path, place.bytes)
    if parts == place.parts and (is_same or parts):
        return "growing"
    return "finished" if is_same and _parts(path) == 0 else "other"


def _left_of_npz(path: Path, place: Place, is_same: bool) -> Left:
    frames = frames_beside(path)
    if path.exists() and not is_same:
        return "other"
    if place == BEGINNING or (frames.is_file() and frames.stat().st_size >= place.bytes):
        return "growing"
    return "finished" if is_same else "other"


def _left_of_pictures(path: Path, place: Place, is_same: bool) -> Left:
    whole = all(picture(path, number).is_file() for number in range(place.frames))
    return "growing" if whole and (is_same or (place == BEGINNING and _is_empty(path))) else "other"


def _is_empty(path: Path) -> bool:
    """Whether there is nothing, or nothing in it."""
    if path.is_dir():
        return not any(path.iterdir())
    return not path.exists() or path.stat().st_size == 0


def _parts(path: Path, until: int | None = None) -> int | None:
    """Fragments in a file, or in its beginning of that many bytes; None where no box ends there."""
    stop = parts = 0
    try:
        with path.open("rb") as file:
            for box in boxes(file):
                if until is not None and stop >= until:
                    break
                stop, parts = box.stop, parts + (box.name == "moof")
    except (FileNotFoundError, ValueError):
        return None
    return parts if until in (None, stop) else None
