"""How fast a clip is decoded from the middle of a video, against decoding the whole file for it."""

import argparse
import io
import json
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import av
import numpy as np
from rich.console import Console
from rich.table import Table

from datamodules.video.video_file import VideoFile, write_mp4
from hallo3_lightning.geometry import FPS

CLIP_FRAMES, LENGTH_S, SIZE, CLIPS = 49, 10, 256, 12


def picture(number: int) -> np.ndarray:
    """[H, W, 3]: a face-sized disc that sways before a textured wall, so that coding has something to do."""
    rows, columns = np.mgrid[:SIZE, :SIZE] / SIZE
    wall = 0.5 + 0.2 * np.sin(40 * columns) * np.sin(31 * rows)
    centre = 0.5 + 0.08 * np.sin(number / 7)
    inside = ((columns - centre) ** 2 + (rows - 0.5) ** 2 < 0.06)[..., None]
    head = np.stack([0.8 + 0.1 * np.sin(60 * rows + number / 3), 0.6 + 0 * rows, 0.5 + 0.1 * columns], axis=-1)
    return np.uint8(255 * np.where(inside, head, wall[..., None]))


def ours(video: bytes, first: int) -> np.ndarray:
    return VideoFile(video).frames(first, first + CLIP_FRAMES)


def whole(video: bytes, first: int) -> np.ndarray:
    """Every frame decoded and turned into RGB by PyAV, one thread, and the clip cut out."""
    with av.open(io.BytesIO(video)) as container:
        stream = container.streams.video[0]
        stream.codec_context.thread_count = 1
        frames = [frame.to_ndarray(format="rgb24") for frame in container.decode(stream)]
    return np.stack(frames[first : first + CLIP_FRAMES])


def ms_a_clip(clip: Callable[[bytes, int], np.ndarray], video: bytes, firsts: list[int]) -> float:
    """Milliseconds of one core's time, the best of three rounds over clips that begin at `firsts`."""
    rounds = []
    for _ in range(3):
        begin = time.process_time()
        for first in firsts:
            clip(video, first)
        rounds.append((time.process_time() - begin) / len(firsts) * 1000)
    return min(rounds)


def videos() -> Iterator[tuple[str, bytes]]:
    pictures = [picture(number) for number in range(LENGTH_S * FPS)]
    for name, every in (("as we write them: key frame every 25", 25), ("one key frame in 250", 250)):
        file = io.BytesIO()
        write_mp4(file, pictures, key_frame_every=every)
        yield name, file.getvalue()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", type=Path, help="write the headline figure there")
    arguments = parser.parse_args()
    title = f"Decoding: {CLIP_FRAMES} frames of {LENGTH_S} s of {SIZE} x {SIZE}, ms a clip; ratio = whole file / ours"
    table = Table("video", "KB", "ours", "whole file", "ratio", title=title)
    firsts = np.random.default_rng(0).integers(0, LENGTH_S * FPS - CLIP_FRAMES, CLIPS).tolist()
    figures = {}
    for name, video in videos():
        times = ms_a_clip(ours, video, firsts), ms_a_clip(whole, video, firsts)
        figures[name] = {"ours_ms": times[0], "whole_ms": times[1], "ratio": times[1] / times[0]}
        table.add_row(name, f"{len(video) / 1000:.0f}", *(f"{ms:.1f}" for ms in times), f"{times[1] / times[0]:.2f}")
    Console().print(table)
    if arguments.json:
        ratio = next(iter(figures.values()))["ratio"]
        arguments.json.write_text(json.dumps({"ratio": ratio, "videos": figures}, indent=2))


if __name__ == "__main__":
    main()
