import argparse
from pathlib import Path

from hallo3_lightning.errors import UsageError

HELP = "score a folder of videos against another, under a named protocol: FID, FVD, Sync, E-FID, identity and more"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--real", type=Path, required=True, metavar="FOLDER", help="true videos, at any depth")
    parser.add_argument("--fake", type=Path, required=True, metavar="FOLDER", help="videos to score, named as the real "
                        "ones that they belong to; a faces.jsonl in either folder says where faces are")  # fmt: skip
    parser.add_argument("--protocol", default="hallo3-v1", metavar="NAME|FILE.yaml", help="of experiments/protocols, or "
                        "a file of your own (%(default)s)")  # fmt: skip
    parser.add_argument("--weights-dir", type=Path, default=None, metavar="FOLDER", help="of published weight files "
                        "(that in HALLO3_WEIGHTS); `hallo3 doctor` lists them")  # fmt: skip
    parser.add_argument("--out", type=Path, default=None, metavar="FOLDER", help="to write; the same command goes on in "
                        "it after a kill (evaluation/FAKE-PROTOCOL)")  # fmt: skip
    parser.add_argument("--unpaired", action="store_true", help="compare the two as sets alone, whatever the names")
    parser.add_argument("--invented", type=int, default=None, metavar="SEED", help="run everything on invented weights, "
                        "to see that it runs: NOT A QUALITY SCORE")  # fmt: skip
    parser.add_argument("--workers", type=int, default=1, help="processes; each holds the networks, 1 to 2 GB "
                        "(%(default)s); their number changes no result")  # fmt: skip
    parser.add_argument("--device", default="cpu", help="cpu or cuda (%(default)s)")


def run(
    real: Path,
    fake: Path,
    protocol: str,
    weights_dir: Path | None,
    out: Path | None,
    unpaired: bool,
    invented: int | None,
    workers: int,
    device: str,
) -> int:
    """Exit status 0: every video could be read; 1: some could not, as the table says."""
    from rich.console import Console

    from hallo3_lightning.backbones.weight_files import weights_dir as given_dir
    from hallo3_lightning.evaluation.folders import pair
    from hallo3_lightning.evaluation.folders_evaluation import FolderEvaluation
    from hallo3_lightning.evaluation.networks import Networks
    from hallo3_lightning.evaluation.recipe import read_recipe

    if workers < 1:
        raise UsageError(f"--workers is {workers}; expected 1 or more")
    if invented is not None and weights_dir is not None:
        raise UsageError("--invented and --weights-dir: give one of the two")
    _check_device(device)
    recipe = read_recipe(protocol)
    pairing = pair(real, fake, unpaired=unpaired)
    folder = None if invented is not None else given_dir(weights_dir)
    networks = Networks(folder, invented, device)
    place = out or Path("evaluation") / f"{fake.resolve().name}-{recipe.id}"
    scores = FolderEvaluation(recipe, pairing, networks, place, workers).run(Console())
    return 0 if scores.complete else 1


def _check_device(device: str) -> None:
    import torch

    if device != "cpu" and not (device.startswith("cuda") and torch.cuda.is_available()):
        raise UsageError(f"--device is {device}, which this machine does not have; give cpu")
