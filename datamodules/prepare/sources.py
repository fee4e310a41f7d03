"""Which videos there are, and what stands beside them: caption, identity, separated vocals.

    folder   VIDEOS/**/x.mp4 with x.txt beside it, or all captions in a csv; VIDEOS/vocals/ for separated vocals
    hallo3   VIDEOS/videos/x.mp4, VIDEOS/caption/x.txt or a meta json's captions, VIDEOS/vocals/: the published layout

Source of the second: fudan-generative-vision/hallo3, README, "Prepare data for training".
"""

import glob
import hashlib
import json
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from datamodules.prepare.listed import Listed, read_list
from hallo3_lightning.errors import UsageError

SUFFIXES = (".mp4", ".mov", ".mkv", ".webm", ".avi")
VOCALS = "vocals"
LONGEST_CAPTION = 1 << 16
"""Bytes: more is no caption."""


@dataclass(frozen=True)
class Source:
    """A video and what is known of it before it is opened."""

    name: str
    """Its path under the folder of videos, with slashes: what verdicts, lists and faces.jsonl call it."""
    path: Path
    caption: str | None
    identity: str
    """Who is seen. Takes of one identity are never in both splits."""
    vocals: Path | None = None
    """A wav file that replaces the sound of the video."""
    faces: str = ""
    """Changes with what a file tells of its faces; see FaceFinder.told_of."""

    @property
    def state(self) -> str:
        """Changes when a file or what is said of it does; files by their size and time of change."""
        files = [_size_and_time(path) for path in (self.path, self.vocals)]
        said = json.dumps([self.name, self.caption, self.identity, files, self.faces])
        return hashlib.blake2b(said.encode(), digest_size=16).hexdigest()


def find_sources(videos: Path, captions: Path | None, layout: str, identity_of: str = "folder") -> list[Source]:
    """All videos, by name. With a list, those that it names.

    identity_of: `folder`, the first folder on the way to a video (its own name where there is none), or `file`; a csv's
    column identity comes first.
    """
    root = videos / "videos" if layout == "hallo3" else videos
    if not root.is_dir():
        other = "; --layout hallo3 expects videos/ and caption/ in it" if layout == "hallo3" else ""
        raise UsageError(f"{root} is not a folder{other}; give a folder of {', '.join(SUFFIXES)} files")
    listed = read_list(captions, published=captions.suffix == ".json") if captions else None
    names = sorted(listed if listed is not None else _names(root))
    if not names:
        raise UsageError(f"no videos in {root}; expected {', '.join(SUFFIXES)} files, or a csv that names some")
    texts = videos / "caption" if layout == "hallo3" else root
    vocals = videos / VOCALS
    return [
        Source(
            name=name,
            path=root / name,
            caption=_caption(texts, name) if listed is None else listed[name].caption,
            identity=_identity(name, listed[name] if listed else None, identity_of),
            vocals=_vocals(vocals, name) if vocals.is_dir() else None,
        )
        for name in names
    ]


def _names(root: Path) -> Iterator[str]:
    """Videos in the folder and below it. Hidden files and folders, and separated vocals, are none."""
    for place, folders, files in os.walk(root):
        folders[:] = [folder for folder in folders if not folder.startswith(".") and folder != VOCALS]
        for file in files:
            if file.lower().endswith(SUFFIXES) and not file.startswith("."):
                yield (Path(place) / file).relative_to(root).as_posix()


def _caption(texts: Path, name: str) -> str | None:
    """The text beside a video, or None if there is none that can be read."""
    file = (texts / name).with_suffix(".txt")
    if not file.is_file() or file.stat().st_size > LONGEST_CAPTION:
        return None
    try:
        return file.read_text(encoding="utf-8-sig").strip()
    except UnicodeDecodeError:
        return None


def _identity(name: str, listed: Listed | None, identity_of: str) -> str:
    if listed is not None and listed.identity:
        return listed.identity
    path = PurePosixPath(name)
    return path.parts[0] if identity_of == "folder" and len(path.parts) > 1 else str(path.with_suffix(""))


def _vocals(folder: Path, name: str) -> Path | None:
    """x.wav, or what audio-separator calls it: x_(Vocals)_<model>.wav."""
    plain = (folder / name).with_suffix(".wav")
    separated = sorted(plain.parent.glob(f"{glob.escape(plain.stem)}_(Vocals)*.wav"))
    return plain if plain.is_file() else next(iter(separated), None)


def _size_and_time(path: Path | None) -> tuple[int, int] | None:
    if path is None or not path.is_file():
        return None
    status = path.stat()
    return status.st_size, status.st_mtime_ns
