import argparse
from pathlib import Path

from hallo3_lightning.errors import UsageError

HELP = "write procedural talking heads as WebDataset shards"
HELD_OUT = 48


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("out", type=Path, help="folder to write")
    parser.add_argument("--takes", type=int, default=1200, help="takes to train on (%(default)s)")
    parser.add_argument("--held-out", type=int, default=None,
                        help=f"takes of other identities to test on ({HELD_OUT})")  # fmt: skip
    parser.add_argument("--frames", type=int, default=34, help="frames a take (%(default)s)")
    parser.add_argument("--size", type=int, default=32, help="pixels a side (%(default)s)")
    parser.add_argument("--seed", type=int, default=0, help="of everything drawn (%(default)s)")
    parser.add_argument("--yaw-max", type=float, default=0.5, help="radians of head turn (%(default)s)")
    parser.add_argument("--workers", type=int, default=None, help="processes (one a core)")
    parser.add_argument("--patch", type=int, default=4, help="pixels a side of an autoencoder patch (%(default)s)")
    parser.add_argument("--mp4", action="store_true", help="write the takes as mp4 files with captions and faces.jsonl, "
                        "as `hallo3 prepare` takes them, with an autoencoder beside them; no held-out takes")  # fmt: skip
    parser.add_argument("--channels", type=int, default=16, help="channels of its latents (%(default)s)")


def run(
    out: Path, channels: int, patch: int, mp4: bool, held_out: int | None, workers: int | None, **takes: int | float
) -> int:
    from datamodules.synthetic.autoencoder import check_autoencoder, fit_autoencoder
    from datamodules.synthetic.videos import write_videos
    from datamodules.synthetic.write import checked, synthesize

    try:
        if mp4:
            if held_out is not None or workers is not None:
                raise UsageError(
                    "--held-out and --workers are for shards; videos are written by one process, and "
                    "`hallo3 prepare --held-out` chooses who is held out"
                )
            write_videos(out, patch=patch, channels=channels, **takes)  # type: ignore[arg-type]
            return 0
        takes["held_out"] = HELD_OUT if held_out is None else held_out
        check_autoencoder(checked(**takes, workers=workers), patch=patch, channels=channels)  # type: ignore[arg-type]
        synthesize(out, **takes, workers=workers)  # type: ignore[arg-type]
        fit_autoencoder(out, patch=patch, channels=channels)
    except OSError as error:
        raise UsageError(
            f"cannot write {out}: {error.strerror}; give a folder that you may write to, on a disk with room, "
            "and the same command goes on from what is there"
        ) from error
    return 0
