import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from hallo3_lightning.errors import UsageError

if TYPE_CHECKING:
    from hallo3_lightning.evaluation.networks import Networks
    from hallo3_lightning.evaluation.recipe import Recipe

HELP = (
    "score a trained run, or a folder of videos against another, under a named protocol: FID, FVD, Sync, E-FID, identity "
    "and more"
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("what", nargs="?", type=Path, metavar="RUN_OR_VIDEOS", help="the folder of a trained run, whose "
                        "held-out clips are generated first; or of videos, as --fake")  # fmt: skip
    parser.add_argument("--real", type=Path, metavar="FOLDER", help="true videos, at any depth; without, only what "
                        "needs none is scored")  # fmt: skip
    parser.add_argument("--fake", type=Path, metavar="FOLDER", help="videos to score, named as the real "
                        "ones that they belong to; a faces.jsonl in either folder says where faces are")  # fmt: skip
    parser.add_argument("--protocol", default="hallo3-v1", metavar="NAME|FILE.yaml", help="of experiments/protocols, or "
                        "a file of your own (%(default)s)")  # fmt: skip
    parser.add_argument("--weights-dir", type=Path, default=None, metavar="FOLDER", help="of published weight files "
                        "(that in HALLO3_WEIGHTS); `hallo3 doctor` lists them")  # fmt: skip
    parser.add_argument("--out", type=Path, default=None, metavar="FOLDER", help="to write; the same command goes on in "
                        "it after a kill (RUN/evaluation/PROTOCOL, or evaluation/FAKE-PROTOCOL)")  # fmt: skip
    parser.add_argument("--unpaired", action="store_true", help="compare the two as sets alone, whatever the names")
    parser.add_argument("--invented", type=int, default=None, metavar="SEED", help="run everything on invented weights, "
                        "to see that it runs: NOT A QUALITY SCORE")  # fmt: skip
    parser.add_argument("--workers", type=int, default=1, help="processes; each holds the networks, 1 to 2 GB "
                        "(%(default)s); their number changes no result, nor does that of ranks of torchrun or srun")  # fmt: skip
    parser.add_argument("--device", default="cpu", help="cpu, cuda, or auto: cuda where there is one (%(default)s)")


def run(
    what: Path | None,
    real: Path | None,
    fake: Path | None,
    protocol: str,
    weights_dir: Path | None,
    out: Path | None,
    unpaired: bool,
    invented: int | None,
    workers: int,
    device: str,
) -> int:
    """Exit status 0: every video could be read; 1: some could not, as the table says."""
    from hallo3_lightning.backbones.weight_files import weights_dir as given_dir
    from hallo3_lightning.evaluation.networks import Networks
    from hallo3_lightning.evaluation.recipe import read_recipe

    if workers < 1:
        raise UsageError(f"--workers is {workers}; expected 1 or more")
    if invented is not None and weights_dir is not None:
        raise UsageError("--invented and --weights-dir: give one of the two")
    if (what is None) == (fake is None):
        raise UsageError("give the folder of a run or of videos to score, either as it is or as --fake, and only one")
    device = _checked_device(device)
    recipe = read_recipe(protocol)
    networks = Networks(None if invented is not None else given_dir(weights_dir), invented, device)
    if what is not None and _is_run(what):
        if real is not None or unpaired:
            raise UsageError(
                f"{what} is a run, whose true videos are those of its data; leave --real and --unpaired out"
            )
        return _evaluate_run(what, recipe, networks, out, workers)
    return _evaluate_folders(real, fake or what, recipe, networks, out, workers, unpaired=unpaired)  # type: ignore[arg-type]


def _evaluate_run(folder: Path, recipe: "Recipe", networks: "Networks", out: Path | None, workers: int) -> int:
    from hallo3_lightning.evaluation.shares import share_here
    from hallo3_lightning.run_evaluation.evaluation import RunEvaluation

    place = out or folder / "evaluation" / recipe.id
    share = share_here()
    scores = RunEvaluation(folder, recipe, networks, place, workers, share).run(_console(share.is_first))
    return 0 if scores is None or scores.complete else 1


def _evaluate_folders(
    real: Path | None,
    fake: Path,
    recipe: "Recipe",
    networks: "Networks",
    out: Path | None,
    workers: int,
    *,
    unpaired: bool,
) -> int:
    from hallo3_lightning.evaluation.folders import lone, pair
    from hallo3_lightning.evaluation.folders_evaluation import FolderEvaluation
    from hallo3_lightning.evaluation.shares import share_here

    pairing = lone(fake) if real is None else pair(real, fake, unpaired=unpaired)
    place = out or Path("evaluation") / f"{fake.resolve().name}-{recipe.id}"
    share = share_here()
    scores = FolderEvaluation(recipe, pairing, networks, place, workers, share).run(_console(share.is_first))
    return 0 if scores is None or scores.complete else 1


def _is_run(folder: Path) -> bool:
    """Whether a folder is a run's; UsageError for one that is neither that nor of videos."""
    from datamodules.prepare.sources import SUFFIXES

    if (folder / "config.yaml").is_file():
        return True
    if folder.is_dir() and not any(path.suffix.lower() in SUFFIXES for path in folder.rglob("*")):
        raise UsageError(
            f"{folder} is neither a run (it has no config.yaml) nor a folder of videos (no {', '.join(SUFFIXES)} in it, at "
            "any depth); give the folder that `hallo3 fit` made, or one of videos"
        )
    return False


def _console(speaks: bool):  # type: ignore[no-untyped-def]
    from rich.console import Console

    return Console(quiet=not speaks)


def _checked_device(device: str) -> str:
    """With the number of the rank's own, where torchrun or srun started several on a machine."""
    import torch

    from hallo3_lightning.evaluation.shares import local_rank

    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "cpu"
    if device != "cpu" and not (device.startswith("cuda") and torch.cuda.is_available()):
        raise UsageError(f"--device is {device}, which this machine does not have; give cpu, or auto")
    here = local_rank()
    return f"cuda:{here % torch.cuda.device_count()}" if device == "cuda" else device
