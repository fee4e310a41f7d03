import argparse
from typing import Any

from hallo3_lightning.verbs._grid import add_grid

HELP = "run what is not finished of a grid"

SLURM = {
    "partition": (str, "where its jobs wait"),
    "account": (str, "who pays"),
    "qos": (str, "quality of service"),
    "constraint": (str, "features that their nodes must have"),
    "nodes": (int, "machines of a run"),
    "time": (int, "minutes until SLURM ends a job; it is requeued and goes on"),
    "signal_margin_s": (int, "seconds before that at which it is told to save"),
    "cpus_per_task": (int, "cores of each process"),
    "mem": (str, "main memory of a node, as SLURM writes it (200G)"),
}
"""Settings of hallo3_lightning.training.launching.Slurm that stand over those of the runs' configs."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_grid(parser)
    parser.add_argument("--parallel", type=int, default=None, metavar="N", help="runs at once (as cores or GPUs allow)")
    parser.add_argument(
        "--launcher", choices=("local", "slurm"), default="local", help="this machine, or arrays on SLURM"
    )
    parser.add_argument("--dry-run", action="store_true", help="say what would run, and what it would cost")
    parser.add_argument("--no-probe", dest="probe", action="store_false", help="with --dry-run: measure nothing")
    parser.add_argument("--only", nargs="*", default=(), metavar="ARM", help="just these arms")
    parser.add_argument("--seeds", nargs="*", type=int, default=(), metavar="SEED", help="just these seeds")
    parser.add_argument("--fail-fast", action="store_true", help="the first failure ends the others")
    parser.add_argument("--retries", type=int, default=2, metavar="K", help="tries after a failure (%(default)s)")
    parser.add_argument(
        "--fork",
        metavar="NAME",
        help="launch it under another name, where it means something else than what was launched",
    )
    slurm = parser.add_argument_group("jobs on SLURM")
    for name, (kind, says) in SLURM.items():
        slurm.add_argument(f"--slurm.{name}", type=kind, default=None, metavar=name.upper(), help=says)
    slurm.add_argument(
        "--slurm.requeue", type=_truth, default=None, metavar="TRUE", help="whether one that is preempted goes on"
    )
    slurm.add_argument("--slurm.setup", action="append", default=None, metavar="LINE", help="shell before the command")


def run(**given: Any) -> int:
    from hallo3_lightning.ablation.launch import ablate

    slurm = {key: given.pop(key) for key in list(given) if key.startswith("slurm.")}
    settings = {key.removeprefix("slurm."): value for key, value in slurm.items() if value is not None}
    return ablate(**given, slurm=settings)


def _truth(word: str) -> bool:
    if word not in ("true", "false"):
        raise argparse.ArgumentTypeError(f"'{word}'; expected true or false")
    return word == "true"
