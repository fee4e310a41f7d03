import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

HELP = "compute latents, text embeddings and audio features of shards ahead of training"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("shards", help="folder or URL of train/ and held_out/")
    parser.add_argument("out", type=Path, help="folder to make, for --data.cache '[OUT]'")
    parser.add_argument("--config", action="append", required=True, help="the run's config: its encoders, sizes and "
                        "clip_frames; may be given several times, as for fit")  # fmt: skip
    parser.add_argument(
        "--signals", nargs="+", default=["latents", "text", "audio"], help="of latents, text, audio (all)"
    )
    parser.add_argument("--clips", type=int, default=8, help="most clips a sample that latents are computed of, evenly "
                        "spread (%(default)s)")  # fmt: skip
    parser.add_argument("--dtype", default="float32", help="float32, bfloat16 or float16 (%(default)s)")
    parser.add_argument("--device", default=None, help="where the encoders run (cuda if there is one, else cpu)")
    parser.add_argument("--workers", type=int, default=None, help="processes (one a core; one on cuda)")


def run(
    shards: str,
    out: Path,
    config: Sequence[str],
    signals: Sequence[str],
    clips: int,
    dtype: str,
    device: str | None,
    workers: int | None,
) -> int:
    """Exit status 1 where samples had to be left out."""
    import torch

    from datamodules.cache import Wanted, compute
    from hallo3_lightning.model.frozen import Encoders
    from hallo3_lightning.training.settings import resolved

    settings = resolved(config, {})
    backbone = settings["model"]["backbone"]
    wanted = Wanted(
        encoders=Encoders(**settings["model"]["encoders"]),
        text_tokens=backbone["text_tokens"],
        text_width=backbone["text_width"],
        clip_frames=settings["data"]["clip_frames"],
        clips=clips,
        signals=tuple(dict.fromkeys(signals)),
        dtype=dtype,
        device=device or ("cuda" if torch.cuda.is_available() else "cpu"),
    )
    report = compute(shards, out, wanted, workers)
    sys.stdout.write(
        f"{out}: signals of {report.computed} of {report.samples} samples; train with --data.cache '[{out}]'\n"
    )
    for reason, times in report.left_out.items():
        sys.stdout.write(f"left out: {times} ({reason})\n")
    return 1 if report.left_out else 0
