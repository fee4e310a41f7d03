"""Folders of videos, and which of one belongs to which of the other."""

from dataclasses import dataclass
from pathlib import Path

from datamodules.prepare.sources import SUFFIXES
from hallo3_lightning.errors import UsageError
from hallo3_lightning.evaluation.given_file import beside

SIDES = ("real", "fake")


@dataclass(frozen=True)
class Video:
    """One clip of one side."""

    side: str
    clip: str
    """Its path under the folder without the ending, which is how pairs find each other."""
    path: Path
    name: str
    """Its path under the folder."""
    partner: Path | None
    """The clip of the other side with the same name."""

    @property
    def state(self) -> str:
        """Changes when the video, its partner, or a file of numbers beside it does."""
        files = [self.path, *([self.partner] if self.partner is not None else []), *beside(self.path)]
        return "; ".join(_size_and_time(path) for path in files)


@dataclass(frozen=True)
class Pairing:
    """What is compared with what."""

    folders: dict[str, Path]
    """By side; without `real`, only what needs no reference set can be scored."""
    videos: tuple[Video, ...]
    """The sides in turn, clips by name; without `alone`."""
    alone: dict[str, tuple[str, ...]]
    """Clips of each side that the other one does not have, and which therefore are not looked at."""
    paired: bool
    """Whether each clip has one of the other side."""

    def clips(self, side: str) -> list[str]:
        """Names of the clips of a side that are looked at."""
        return [video.clip for video in self.videos if video.side == side]


def lone(fake: Path) -> Pairing:
    """The videos of a folder that is compared with none. Raises UsageError."""
    videos = tuple(
        Video("fake", clip, path, path.relative_to(fake).as_posix(), None)
        for clip, path in sorted(_videos(fake).items())
    )
    return Pairing({"fake": fake}, videos, {"fake": ()}, paired=False)


def pair(real: Path, fake: Path, *, unpaired: bool = False) -> Pairing:
    """The videos of two folders, at any depth, by name. Raises UsageError for folders with nothing in common, unless
    they are to be compared as sets alone (`unpaired`)."""
    found = {"real": _videos(real), "fake": _videos(fake)}
    common = sorted(found["real"].keys() & found["fake"].keys())
    if not common and not unpaired:
        examples = " and ".join(f"'{min(found[side])}' of {len(found[side])}" for side in SIDES)
        raise UsageError(
            f"{real} and {fake} have no clip of the same name ({examples}); name fake videos as the real ones that they "
            "belong to, or give --unpaired to compare the two as sets (FID, KID, FVD, KVD, E-FID)"
        )
    chosen = {side: sorted(found[side]) if unpaired else common for side in SIDES}
    partners = {"real": found["fake"], "fake": found["real"]}
    folders = {"real": real, "fake": fake}
    videos = [
        Video(
            side,
            clip,
            found[side][clip],
            found[side][clip].relative_to(folders[side]).as_posix(),
            None if unpaired else partners[side][clip],
        )
        for side in SIDES
        for clip in chosen[side]
    ]
    alone = {side: tuple(sorted(found[side].keys() - set(chosen[side]))) for side in SIDES}
    return Pairing(folders, tuple(videos), alone, not unpaired)


def _videos(folder: Path) -> dict[str, Path]:
    if not folder.is_dir():
        raise UsageError(f"{folder} is no folder; give a folder of {', '.join(SUFFIXES)} files")
    # what is neither folder nor file, such as a link to nowhere, is counted as a video that cannot be read
    paths = [path for path in sorted(folder.rglob("*")) if path.suffix.lower() in SUFFIXES and not path.is_dir()]
    if not paths:
        raise UsageError(f"{folder} has no {', '.join(SUFFIXES)} file in it, at any depth; give a folder of videos")
    found: dict[str, Path] = {}
    for path in (folder, *paths):
        _check_name(path)
    for path in paths:
        clip = path.relative_to(folder).with_suffix("").as_posix()
        if clip in found:
            raise UsageError(f"{found[clip]} and {path} have one name but for the ending; keep one of them")
        found[clip] = path
    return found


def _check_name(path: Path) -> None:
    """Tables and rows are text, and name every clip."""
    try:
        str(path).encode()
    except UnicodeEncodeError:
        raise UsageError(f"the name of {str(path)!a} is not in UTF-8, as tables and rows are; rename it") from None


def _size_and_time(path: Path) -> str:
    if not path.is_file():
        return "no file"
    stat = path.stat()
    return f"{stat.st_size} {stat.st_mtime_ns}"
