"""What an earlier making left where a film goes: the film to go on with, the finished one, or somebody else's file."""

import zipfile
import zlib
from collections.abc import Iterator, Mapping
from itertools import chain
from pathlib import Path
from typing import Any, Literal

from hallo3_lightning.film.facts import told_by
from hallo3_lightning.film.files.film import BEGINNING, FRAMES, Place, beside
from hallo3_lightning.film.files.frames_film import AT_ONCE, is_whole, picture
from hallo3_lightning.film.files.mp4_boxes import END, TYPE, boxes
from hallo3_lightning.film.unfinished import differing

TORN = ""
"""In place of the type of a box: it is cut short."""

SETTLED = {"ftyp", "moov", "free", "mdat"}
"""Boxes of an mp4 with one table. One that grows has fragments too, or what may become one."""

Left = Literal["growing", "finished", "other"]


def left_at(path: Path, kind: str, place: Place, facts: Mapping[str, Any]) -> Left:
    """What is there of the film of these facts, whose making had come to that place; nothing is changed.

    A kill between the film's last form and the end of its making leaves the finished one, which must not be cut back to a
    place in the growing one. "other" is also what was deleted, cut shorter or changed before that place.
    """
    told = told_by(path)
    is_same = told is not None and not differing(told, facts)
    if is_same and is_finished(path):
        return "finished"
    if place == BEGINNING:
        return "growing" if is_same or _is_empty(path) or _is_torn(path) else "other"
    if kind == "npz" and path.exists():
        return "other"
    return "growing" if _holds(_files(path, kind, place), place) else "other"


def is_finished(path: Path) -> bool:
    """Whether a file or folder that says it is a film of ours has its last form."""
    if path.is_dir():
        return is_whole(path)
    return zipfile.is_zipfile(path) or _is_finished_mp4(path)


def _is_finished_mp4(path: Path) -> bool:
    """Its frames are behind one table, or in fragments that are told to be all."""
    names = _names(path)
    return "mdat" in names and (set(names) <= SETTLED or names[-1] == END)


def _files(path: Path, kind: str, place: Place) -> Iterator[Path]:
    """Those that frames are written into, in order."""
    if kind == "png":
        return (picture(path, number) for number in range(place.frames))
    return iter([beside(path, FRAMES) if kind == "npz" else path])


def _holds(files: Iterator[Path], place: Place) -> bool:
    """Whether they begin with what had been written until then."""
    length = checksum = 0
    try:
        for part in chain.from_iterable(map(_parts, files)):
            part = part[: place.bytes - length]
            length, checksum = length + len(part), zlib.crc32(part, checksum)
            if length == place.bytes:
                break
    except (FileNotFoundError, IsADirectoryError, NotADirectoryError):
        return False
    return (length, checksum) == (place.bytes, place.checksum)


def _parts(path: Path) -> Iterator[bytes]:
    with path.open("rb") as file:
        while part := file.read(AT_ONCE):
            yield part


def _is_torn(path: Path) -> bool:
    """Whether there is but the beginning of a film's first piece: not enough to say what it is."""
    if path.is_dir():
        return [file.name for file in path.iterdir()] == [picture(path, 0).name]
    with path.open("rb") as file:
        begins = file.read(TYPE.stop)
    return begins[TYPE] == b"ftyp" and set(_names(path)) <= {"ftyp", TORN}


def _names(path: Path) -> list[str]:
    """Of the boxes in a file; the last is TORN where one is cut short."""
    names = []
    try:
        with path.open("rb") as file:
            for box in boxes(file):
                names.append(box.name)
    except ValueError:
        names.append(TORN)
    return names


def _is_empty(path: Path) -> bool:
    """Whether there is nothing, or nothing in it."""
    if path.is_dir():
        return not any(path.iterdir())
    return not path.exists() or path.stat().st_size == 0
