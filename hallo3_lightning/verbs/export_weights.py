import argparse
import sys
from pathlib import Path
from typing import Any

HELP = "weights of a run in another form"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("source", type=Path, help="a run's folder, a checkpoint in it, or a folder of weights")
    parser.add_argument("out", type=Path, help="folder to make")
    parser.add_argument(
        "--format",
        dest="form",
        choices=("safetensors", "diffusers"),
        default="safetensors",
        help="all in one folder, or the backbone for diffusers' from_pretrained (%(default)s)",
    )


def run(source: Path, out: Path, form: Any) -> int:
    from hallo3_lightning.weights.exporting import export_weights
    from hallo3_lightning.weights.folder import summary

    sys.stdout.write(summary(out, export_weights(source, out, form)) + "\n")
    return 0
