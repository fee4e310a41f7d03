import argparse
import sys
from pathlib import Path

HELP = "weights of CogVideoX-5B-I2V or of the published Hallo3, as ours"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("source", type=Path, help="a diffusers folder, a SAT folder, or a mp_rank_00_model_states.pt")
    parser.add_argument("out", type=Path, help="folder to make, for --model.init_from")
    parser.add_argument("--latents", default=None, metavar="TxHxW", help="latents of a SAT file's positions (13x60x90)")


def run(source: Path, out: Path, latents: str | None) -> int:
    from hallo3_lightning.weights.folder import summary
    from hallo3_lightning.weights.importing import import_weights

    sys.stdout.write(summary(out, import_weights(source, out, latents)) + "\n")
    return 0
