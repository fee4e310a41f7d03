import argparse
from pathlib import Path
from typing import Any

from hallo3_lightning.errors import UsageError

HELP = "make shards from a folder of videos: 25 fps, 16 kHz, faces, captions, and a verdict on each take"

NO_FACES = (
    "say who finds the faces: --faces FOLDER with detector files (`hallo3 doctor` lists them and where they come from), "
    "--faces FILE.jsonl with boxes of your own, --faces published for what the published preprocessing left beside "
    "videos/, or --faces none: samples then have neither face box nor face embedding, "
    "so the whole picture counts as face, and an identity condition that needs an embedding cannot be trained"
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument("videos", type=Path, help="folder of mp4, mov, mkv, webm or avi files, at any depth")
    parser.add_argument("out", type=Path, help="folder to write; the same command goes on in it after a kill")
    parser.add_argument("--faces", default=None, metavar="FOLDER|FILE.jsonl|published|none",
                        help="who finds the faces; required; published: face_mask/ and face_emb/ beside videos/")  # fmt: skip
    parser.add_argument("--layout", choices=("folder", "hallo3"), default="folder",
                        help="folder: captions as .txt beside the videos; hallo3: videos/ and caption/ (%(default)s)")  # fmt: skip
    parser.add_argument("--captions", type=Path, default=None, metavar="FILE",
                        help="a csv with video,caption and perhaps identity, or the published meta json")  # fmt: skip
    parser.add_argument("--size", default="480x720", metavar="HxW", help="height and width in pixels (%(default)s)")
    parser.add_argument("--fit", default="crop", help="crop, pad (both keep the aspect), square or stretch (both as the "
                        "published training does, by kind of mask) (%(default)s)")  # fmt: skip
    parser.add_argument("--held-out", default="0.05", metavar="SHARE|FILE",
                        help="identities to test on: a share, or a file with one a line (%(default)s)")  # fmt: skip
    parser.add_argument("--identity-of", choices=("folder", "file"), default="folder",
                        help="who is who, where no csv says it: each first folder, or each file (%(default)s)")  # fmt: skip
    parser.add_argument("--lip-sync", type=Path, default=None, metavar="FOLDER",
                        help="compare lips with sound by the SyncNet in this folder of weight files (not done)")  # fmt: skip
    parser.add_argument(
        "--workers",
        type=int,
        default=None,
        help="processes (one a core); 0: all in one, which a video that crashes the decoder ends too",
    )
    parser.add_argument("--keep-work", action="store_true", help="keep each video's result: to add videos later")
    parser.add_argument("--cache", action="append", default=None, metavar="CONFIG", help="then compute the signals of this "
                        "run's config ahead, into OUT/cache, as `hallo3 cache` does; may be given several times")  # fmt: skip
    _add_limits(parser.add_argument_group("what is kept"))


def _add_limits(limits: Any) -> None:
    limits.add_argument("--min-frames", type=int, default=49, help="a shorter take is dropped (%(default)s)")
    limits.add_argument("--take-frames", type=int, default=750, help="a longer scene is parted; 0: never (%(default)s)")
    limits.add_argument("--cuts", default="split", help="takes never cross a scene cut (split), those that do are dropped "
                        "(drop), or nobody looks (ignore) (%(default)s)")  # fmt: skip
    limits.add_argument("--enlarge-limit", type=float, default=2.0, help="largest enlargement (%(default)s)")
    limits.add_argument("--face-every", type=int, default=5, help="look for faces every so many frames (%(default)s)")
    limits.add_argument("--face-share", type=float, default=0.8, help="of these, how many must show one (%(default)s)")
    limits.add_argument("--sync-offset", type=int, default=3, help="frames of sound too early or late (%(default)s)")
    limits.add_argument("--sync-confidence", type=float, default=3.0, help="least Sync-C (%(default)s)")
    limits.add_argument("--no-caption-needed", action="store_true", help="keep takes without a caption")
    limits.add_argument("--drop-limit", type=float, default=0.5,
                        help="exit with status 1 if a larger share of takes is dropped (%(default)s)")  # fmt: skip


def run(
    videos: Path,
    out: Path,
    faces: str | None,
    layout: str,
    captions: Path | None,
    size: str,
    held_out: str,
    lip_sync: Path | None,
    workers: int | None,
    keep_work: bool,
    cache: list[str] | None,
    no_caption_needed: bool,
    drop_limit: float,
    **limits: Any,
) -> int:
    from rich.console import Console

    from datamodules.prepare.faces_file import FacesFile
    from datamodules.prepare.judge import Judge
    from datamodules.prepare.prepare import prepare
    from datamodules.prepare.settings import Settings
    from datamodules.prepare.sources import find_sources
    from datamodules.prepare.splits import read_split

    if workers is not None and workers < 0:
        raise UsageError(f"--workers is {workers}; expected 0 (all in one process) or more")
    if not 0 <= drop_limit <= 1:
        raise UsageError(f"--drop-limit is {drop_limit}; it is a share between 0 and 1")
    height, width = _size(size)
    finder, lips = _finder(faces, videos), _lips(lip_sync, faces)
    settings = Settings(
        height=height,
        width=width,
        need_caption=not no_caption_needed,
        split=read_split(held_out),
        faces="none" if finder is None else finder.fingerprint,
        lip_sync="none" if lips is None else lips.fingerprint,
        **limits,
    )
    settings.check()
    sources = find_sources(videos, captions, layout, settings.identity_of)
    settings.split.check(source.identity for source in sources)
    if isinstance(finder, FacesFile):
        finder.check_videos([source.name for source in sources])
    summary = prepare(sources, out, Judge(settings, finder, lips), workers=workers, keep_work=keep_work)
    summary.show(Console(), out, drop_limit)
    if summary.dropped_share > drop_limit:
        return 1
    return _cache(out, cache, workers) if cache else 0


def _cache(out: Path, configs: list[str], workers: int | None) -> int:
    """What `hallo3 cache OUT OUT/cache --config ...` does."""
    from hallo3_lightning.verbs import cache

    parser = argparse.ArgumentParser()
    cache.add_arguments(parser)
    typed = [str(out), str(out / "cache"), *(f"--config={config}" for config in configs)]
    return cache.run(**{**vars(parser.parse_args(typed)), "workers": workers or None})


def _size(told: str) -> tuple[int, int]:
    sides = told.lower().split("x")
    if len(sides) != 2 or not all(side.isdecimal() for side in sides):
        raise UsageError(f"--size is {told}; expected height x width in pixels, such as 480x720")
    return int(sides[0]), int(sides[1])


def _finder(faces: str | None, videos: Path) -> Any:
    """Who finds the faces, or None for --faces none."""
    from datamodules.prepare.faces import finder
    from datamodules.prepare.published import PublishedFaces

    if not faces:
        raise UsageError(NO_FACES)
    if faces == "none":
        return None
    if faces == "published":
        told = PublishedFaces(videos)
        told.check()
        return told
    place = Path(faces)
    found = finder(folder=place) if place.is_dir() else finder(faces_file=place)
    if found is None:
        raise UsageError(f"{place} holds no face detector; {NO_FACES}")
    return found


def _lips(folder: Path | None, faces: str | None) -> Any:
    """What compares lips with sound, or None if nobody asked."""
    from hallo3_lightning.backbones.lip_sync import lip_sync

    if folder is None:
        return None
    if faces == "none":
        raise UsageError("--lip-sync needs to know where the lips are: give --faces FOLDER or --faces FILE.jsonl too")
    return lip_sync(folder)
