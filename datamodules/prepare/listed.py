"""Lists of videos: a csv with the columns video and caption, or the meta json of the published preprocessing.

Lists come from anywhere, so what they name stays within the folder of videos: no absolute path, no `..`.
"""

import csv
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from hallo3_lightning.errors import UsageError


@dataclass(frozen=True)
class Listed:
    """What a list says of one video."""

    video: str
    """Its path under the folder of videos, with slashes."""
    caption: str | None
    identity: str | None = None


def read_list(file: Path, published: bool = False) -> dict[str, Listed]:
    """What a list says, by video: a csv, or with `published` the meta json. A wrong line raises UsageError."""
    if not file.is_file():
        raise UsageError(f"{file} is no file; --captions takes a csv with the columns video,caption")
    entries = _published(file) if published else _csv(file)
    found: dict[str, Listed] = {}
    for place, entry in entries:
        if entry.video in found:
            raise UsageError(f"{place}: {entry.video} is listed a second time; give each video one line")
        found[entry.video] = entry
    return found


def _csv(file: Path) -> Iterator[tuple[str, Listed]]:
    try:
        with file.open(newline="", encoding="utf-8-sig") as lines:
            rows = csv.DictReader(lines, strict=True)
            columns = list(rows.fieldnames or ())
            if not {"video", "caption"} <= set(columns) or len(set(columns)) < len(columns):
                have = ", ".join(columns) or "none"
                raise UsageError(f"{file}: expected the columns video,caption and perhaps identity, got {have}")
            for row in rows:
                place = f"{file}, line {rows.line_num}"
                if None in row or None in row.values():  # how DictReader says that there are more, or fewer
                    raise UsageError(
                        f"{place}: not the {len(columns)} columns that the first line names; a caption with a comma in it "
                        'stands in quotes, and quotes in it twice: a.mp4,"one, ""two"""'
                    )
                yield place, Listed(within(row["video"] or "", place), row["caption"], row.get("identity") or None)
    except (UnicodeDecodeError, csv.Error) as error:
        raise UsageError(
            f"{file}: not a csv in UTF-8 ({error}); a quote may be open: a caption with quotes in it stands in quotes, and "
            'those in it are written twice: a.mp4,"one ""two"""'
        ) from error


def _published(file: Path) -> Iterator[tuple[str, Listed]]:
    """A list of {"video_path", "caption", ...}.

    The paths are absolute and of another machine, and the other files are pickles or can be made anew: only the name
    of the video counts, and what the caption says. Source of the field names: fudan-generative-vision/hallo3,
    hallo3/extract_meta_info.py.
    """
    try:
        told = json.loads(file.read_text(encoding="utf-8"))
    except ValueError as error:
        raise UsageError(f"{file}: not JSON ({error}); expected what extract_meta_info.py writes") from error
    if not isinstance(told, list):
        raise UsageError(f"{file}: expected a list of objects, as extract_meta_info.py writes it")
    for number, entry in enumerate(told):
        place = f"{file}, entry {number}"
        if not isinstance(entry, Mapping) or not isinstance(entry.get("video_path"), str):
            raise UsageError(f'{place}: expected an object with a "video_path", got {str(entry)[:60]}')
        name = PurePosixPath(entry["video_path"].replace("\\", "/")).name
        yield place, Listed(within(name, place), _text(entry.get("caption")))


def _text(told: Any) -> str | None:
    return told if isinstance(told, str) else None


def within(name: str, place: str) -> str:
    """A path under the folder of videos, in its plain form; UsageError for one that may lead out of it."""
    path = PurePosixPath(name)
    if not path.parts or path.is_absolute() or ".." in path.parts or "\\" in name or "\0" in name:
        raise UsageError(
            f"{place}: '{name}' does not stay in the folder of videos; expected a path within it such as anna/0001.mp4"
        )
    return str(path)
