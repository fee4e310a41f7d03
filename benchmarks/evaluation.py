"""What scoring a clip takes, by feature and by metric; how often it is decoded and each feature made; what sharing saves."""

import argparse
import json
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any
from unittest.mock import patch

import torch
from rich.console import Console
from rich.table import Table

from datamodules.synthetic.take import make_take
from datamodules.video.video_file import VideoFile, write_mp4
from hallo3_lightning.evaluation import measuring
from hallo3_lightning.evaluation.feature import feature, measured
from hallo3_lightning.evaluation.folders import lone
from hallo3_lightning.evaluation.footage import Footage, Framing, shoot
from hallo3_lightning.evaluation.kept import Store
from hallo3_lightning.evaluation.measuring import Measure, plan
from hallo3_lightning.evaluation.networks import Networks
from hallo3_lightning.evaluation.published_metric import metric
from hallo3_lightning.evaluation.recipe import read_recipe

DECODE = "decode"
LEAST_FRAMES = 11
"""Few and small where only counting matters; FVD needs ten."""


def seconds_of(work: Callable[[], Any]) -> tuple[float, Any]:
    """Of this process, on one core, and the result."""
    begin = time.process_time()
    result = work()
    return time.process_time() - begin, result


def filmed(path: Path, frames: int, height: int, width: int, networks: Networks) -> Callable[[], Footage]:
    """Decodes one procedural clip."""
    take = make_take(0, 0, frames=frames, size=64)
    write_mp4(path, take.video[:], take.waveform)
    framing = Framing(frames, (height, width))
    return lambda: shoot(path, "clip", path.name, framing, networks.faces_of(path.parent))


def counted(path: Path, features: list[str], networks: Networks) -> Counter[str]:
    """How often an evaluation of one clip decodes it, and makes each feature: of the code that `hallo3 evaluate` runs."""
    times: Counter[str] = Counter()

    def frames(file: VideoFile, *part: int) -> Any:
        times[DECODE] += 1
        return decoded(file, *part)

    def made(name: str, *given: Any) -> Any:
        times[name] += 1
        return measured(name, *given)

    decoded = VideoFile.frames
    finders = {"fake": networks.faces_of(path.parent)}
    framing = Framing(LEAST_FRAMES, (64, 64))
    wanted = plan(features, networks, finders, framing).fingerprints
    measure = Measure(framing, networks, finders, Store(path.parent), wanted)
    with patch.object(VideoFile, "frames", frames), patch.object(measuring, "measured", made):
        measure(lone(path.parent).videos[0])
    return times


def by_metric(used: dict[str, tuple[str, ...]], seconds: dict[str, float]) -> Table:
    """Seconds of each metric's features, which it shares with others, and with a decode of its own."""
    table = Table("metric", "features", "s a clip", "by itself", title="By metric")
    for name, names in used.items():
        own = sum(seconds[one] for one in names)
        table.add_row(name, ", ".join(names), f"{own:.2f}", f"{own + seconds[DECODE]:.2f}")
    return table


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--protocol", default="hallo3-v1", help="whose metrics (%(default)s)")
    parser.add_argument("--frames", type=int, default=11, help="of the clip (%(default)s)")
    parser.add_argument("--height", type=int, default=128)
    parser.add_argument("--width", type=int, default=192)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--json", type=Path, help="write the figures there")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    networks = Networks(seed=0, device=arguments.device)
    used = {name: metric(name).features for name in read_recipe(arguments.protocol).metrics}
    features = sorted({name for names in used.values() for name in names})
    networks.check({network for name in features for network in feature(name).networks})
    seconds, states = {}, {}
    with tempfile.TemporaryDirectory() as folder:
        decode = filmed(Path(folder) / "clip.mp4", arguments.frames, arguments.height, arguments.width, networks)
        seconds[DECODE], footage = seconds_of(decode)
        for name in features:
            seconds[name], found = seconds_of(lambda name=name: measured(name, footage, networks))
            states[name] = found.status
        times = counted(Path(folder) / "clip.mp4", features, networks)
    shared = sum(seconds.values())
    alone = sum(seconds[DECODE] + sum(seconds[name] for name in names) for names in used.values())
    size = f"{arguments.frames} frames of {arguments.height} x {arguments.width}"
    table = Table(
        "feature", "made", "s a clip", "share", "metrics", title=f"Evaluation: {size}, one core, invented weights"
    )
    for name, took in sorted(seconds.items(), key=lambda item: -item[1]):
        told = ", ".join(m for m, names in used.items() if name in names) or "all"
        state = "" if states.get(name, "measured") == "measured" else f" ({states[name]})"
        table.add_row(
            name + state, f"{times[name]} time{'s' * (times[name] != 1)}", f"{took:.2f}", f"{took / shared:.0%}", told
        )
    table.add_row("all, each once", f"{sum(times.values())} times", f"{shared:.2f}", "100%", f"{len(used)} metrics")
    apart = sum(1 + len(names) for names in used.values())
    table.add_row(
        "each metric by itself", f"{apart} times", f"{alone:.2f}", f"{alone / shared:.0%}", "what sharing saves"
    )
    Console().print(table)
    Console().print(by_metric(used, seconds))
    if arguments.json:
        figures = {
            "ratio": alone / shared,
            "seconds_a_clip": seconds,
            "shared_s": shared,
            "alone_s": alone,
            "made": times,
        }
        arguments.json.write_text(json.dumps(figures, indent=2))


if __name__ == "__main__":
    main()
