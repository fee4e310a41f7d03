"""How fast procedural takes are rendered, against the 200 frames a second and core that were asked for."""

import argparse
import json
import time
from pathlib import Path

from rich.console import Console
from rich.table import Table

from datamodules.synthetic.take import make_take

ASKED_FRAMES_PER_S = 200
FRAMES = 34


def frames_per_s(size: int, takes: int) -> float:
    """Frames a second of one core's time, sound and truth included; the best of three rounds."""
    make_take(0, 0, frames=FRAMES, size=size)
    rates = []
    for first in range(0, 3 * takes, takes):
        begin = time.process_time()
        for number in range(first, first + takes):
            make_take(0, number, frames=FRAMES, size=size)
        rates.append(takes * FRAMES / (time.process_time() - begin))
    return max(rates)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", type=Path, help="write the headline figure there")
    arguments = parser.parse_args()
    table = Table("size", "frames/s a core", "ratio", title="Rendering: frames/s a core / 200 asked for")
    rates = {size: frames_per_s(size, takes) for size, takes in ((32, 40), (48, 20), (96, 6))}
    for size, rate in rates.items():
        table.add_row(f"{size} x {size}", f"{rate:.0f}", f"{rate / ASKED_FRAMES_PER_S:.2f}")
    Console().print(table)
    if arguments.json:
        figures = {"ratio": rates[32] / ASKED_FRAMES_PER_S, "frames_per_s": rates}
        arguments.json.write_text(json.dumps(figures, indent=2))


if __name__ == "__main__":
    main()
