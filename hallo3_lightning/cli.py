"""The `hallo3` command. Nothing heavy is imported until a verb needs it."""

import argparse
import errno
import sys
from collections.abc import Sequence
from pathlib import Path

from hallo3_lightning.errors import UsageError, unknown

LIGHTNING_VERBS = {
    "fit": "train a phase, or go on with it: hallo3 fit --config experiments/tiny/audio.yaml --model.audio adaln",
    "validate": "loss of a trained run on held-out clips",
    "test": "generate held-out clips of a trained run and score them against the truth",
    "predict": "generate held-out clips of a trained run",
}


DISK = (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES, errno.EPERM, errno.ENOTDIR)
"""What a disk says that is full or not ours to write: the user's to mend, and no traceback helps."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; returns its exit status: 0 done, 1 not all done, 2 something the user can mend."""
    arguments = list(sys.argv[1:] if arguments is None else arguments)
    verb = arguments[0] if arguments else ""
    try:
        if verb in LIGHTNING_VERBS:
            from hallo3_lightning.training.command_line import run

            return run(arguments)
        if verb == "describe":
            from hallo3_lightning.describe import describe

            return describe(arguments[1:])
        return _ours(arguments)
    except UsageError as error:
        print(f"hallo3{' ' + verb if verb else ''}: error: {error}", file=sys.stderr)
        return 2
    except OSError as error:
        if error.errno not in DISK:
            raise
        place = f" at {error.filename}" if error.filename else ""
        print(f"hallo3 {verb}: error: {error.strerror}{place}; make room or name another folder", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("stopped; the same command goes on from here", file=sys.stderr)
        return 130


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> None:  # type: ignore[override]
        raise UsageError(f"{message} (see `{self.prog} --help`)")


def _ours(arguments: list[str]) -> int:
    parser = _parser()
    verbs = [
        *LIGHTNING_VERBS,
        "describe",
        "synthesize",
        "ablate",
        "status",
        "compare",
        "import-weights",
        "export-weights",
    ]
    if arguments and not arguments[0].startswith("-") and arguments[0] not in verbs:
        raise unknown("verb", arguments[0], verbs)
    given = vars(parser.parse_args(arguments or ["--help"]))
    verb = given.pop("verb")
    if verb == "synthesize":
        return _synthesize(**given)
    if verb == "import-weights":
        from hallo3_lightning.weights.importing import import_weights

        return import_weights(**given)
    if verb == "export-weights":
        from hallo3_lightning.weights.exporting import export_weights

        return export_weights(**given)
    if verb == "ablate":
        from hallo3_lightning.ablation.launch import ablate

        return ablate(**given)
    if verb == "status":
        from hallo3_lightning.ablation.status import status

        return status(**given)
    from hallo3_lightning.ablation.compare import compare

    return compare(**given)


def _synthesize(out: Path, channels: int, patch: int, **takes: int | float | None) -> int:
    from datamodules.synthetic.autoencoder import check_autoencoder, fit_autoencoder
    from datamodules.synthetic.write import checked, synthesize

    try:
        check_autoencoder(checked(**takes), patch=patch, channels=channels)  # type: ignore[arg-type]
        synthesize(out, **takes)  # type: ignore[arg-type]
        fit_autoencoder(out, patch=patch, channels=channels)
    except OSError as error:
        raise UsageError(
            f"cannot write {out}: {error.strerror}; give a folder that you may write to, on a disk with room, "
            "and the same command goes on from what is there"
        ) from error
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(
        prog="hallo3",
        description="Ablations of audio-driven portrait animation with Hallo3.",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    verbs = parser.add_subparsers(dest="verb", metavar="VERB", required=True)
    for name, text in LIGHTNING_VERBS.items():
        verbs.add_parser(name, help=text)
    verbs.add_parser(
        "describe", help="parameters, operations and memory of a config: takes what `fit` takes, and --json"
    )

    made = verbs.add_parser("synthesize", help="write procedural talking heads as WebDataset shards")
    made.add_argument("out", type=Path, help="folder to write")
    made.add_argument("--takes", type=int, default=1200, help="takes to train on (%(default)s)")
    made.add_argument("--held-out", type=int, default=48, help="takes of other identities to test on (%(default)s)")
    made.add_argument("--frames", type=int, default=34, help="frames a take (%(default)s)")
    made.add_argument("--size", type=int, default=32, help="pixels a side (%(default)s)")
    made.add_argument("--seed", type=int, default=0, help="of everything drawn (%(default)s)")
    made.add_argument("--yaw-max", type=float, default=0.5, help="radians of head turn (%(default)s)")
    made.add_argument("--workers", type=int, default=None, help="processes (one a core)")
    made.add_argument("--patch", type=int, default=4, help="pixels a side of an autoencoder patch (%(default)s)")
    made.add_argument("--channels", type=int, default=16, help="channels of its latents (%(default)s)")

    taken = verbs.add_parser("import-weights", help="weights of CogVideoX-5B-I2V or of the published Hallo3, as ours")
    taken.add_argument("source", type=Path, help="a diffusers folder, a SAT folder, or a mp_rank_00_model_states.pt")
    taken.add_argument("out", type=Path, help="folder to make, for --model.init_from")
    taken.add_argument("--latents", default=None, metavar="TxHxW", help="latents of a SAT file's positions (13x60x90)")
    left = verbs.add_parser("export-weights", help="weights of a run in another form")
    left.add_argument("source", type=Path, help="a run's folder, a checkpoint in it, or a folder of weights")
    left.add_argument("out", type=Path, help="folder to make")
    left.add_argument("--format", dest="form", choices=("safetensors", "diffusers"), default="safetensors",
                      help="all in one folder, or the backbone for diffusers' from_pretrained (%(default)s)")  # fmt: skip

    grids = {
        "ablate": "run what is not finished of a grid",
        "status": "list the runs of a grid",
        "compare": "one table, one picture and one JSON of a grid's arms",
    }
    for name, text in grids.items():
        verb = verbs.add_parser(name, help=text)
        verb.add_argument("grid", type=Path, help="a file in experiments/grids/")
        verb.add_argument("--root", type=Path, default=Path("runs"), help="folder of runs (%(default)s)")
        if name == "ablate":
            verb.add_argument("--parallel", type=int, default=None, help="runs at once (one a core)")
            verb.add_argument("--dry-run", action="store_true", help="say what would run")
            verb.add_argument("--only", nargs="*", default=(), metavar="ARM", help="just these arms")
            verb.add_argument("--seeds", nargs="*", type=int, default=(), help="just these seeds")
        if name == "compare":
            verb.add_argument("--out", type=Path, default=None, help="folder for the files (the grid's folder)")
    return parser


if __name__ == "__main__":
    sys.exit(main())
