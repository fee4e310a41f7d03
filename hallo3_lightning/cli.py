"""The `hallo3` command. Nothing heavy is imported until a verb needs it."""

import argparse
import errno
import importlib
import pkgutil
import re
import sys
from collections.abc import Mapping, Sequence
from types import ModuleType
from typing import Any

from hallo3_lightning import verbs
from hallo3_lightning.errors import UsageError, unknown

DISK = (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES, errno.EPERM, errno.ENOTDIR)
"""What a disk says that is full or not ours to write: the user's to mend, and no traceback helps."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; returns its exit status: 0 done, 1 not all done, 2 something the user can mend."""
    arguments = list(sys.argv[1:] if arguments is None else arguments)
    verb = arguments[0] if arguments else ""
    try:
        return _run(arguments)
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


def _run(arguments: list[str]) -> int:
    known = _verbs()
    verb = arguments[0] if arguments else "--help"
    if not verb.startswith("-") and verb not in known:
        raise unknown("verb", verb, known)
    if verb in known and not hasattr(known[verb], "add_arguments"):
        return known[verb].run(arguments)
    found, surplus = _parser(known).parse_known_args(arguments or ["--help"])
    if surplus:
        raise UsageError(f"unrecognized arguments: {' '.join(surplus)} (see `hallo3 {verb} --help`)")
    given = vars(found)
    return known[given.pop("verb")].run(**given)


def _verbs() -> Mapping[str, ModuleType]:
    """Each verb and its file."""
    files = sorted(found.name for found in pkgutil.iter_modules(verbs.__path__) if not found.name.startswith("_"))
    return {name.replace("_", "-"): importlib.import_module(f"{verbs.__name__}.{name}") for name in files}


NEGATIVES = re.compile(r"-[\d.][\d.e]*((,-?[\d.][\d.e]*)+| ?[A-Za-z]+)")
"""Several numbers of which the first is negative, a box that begins left of the picture; or one with a unit."""


class _Parser(argparse.ArgumentParser):
    def parse_known_args(self, args: Sequence[str] | None = None, namespace: Any = None) -> Any:  # type: ignore[override]
        """argparse takes -5 for a value and -5,2 for an option, unless it is joined to its option."""
        joined: list[str] = []
        for argument in sys.argv[1:] if args is None else args:
            if NEGATIVES.fullmatch(argument) and joined and joined[-1].startswith("--"):
                joined[-1] += f"={argument}"
            else:
                joined.append(argument)
        return super().parse_known_args(joined, namespace)

    def error(self, message: str) -> None:  # type: ignore[override]
        raise UsageError(f"{message} (see `{self.prog} --help`)")


def _parser(known: Mapping[str, ModuleType]) -> argparse.ArgumentParser:
    parser = _Parser(prog="hallo3", description="Ablations of audio-driven portrait animation with Hallo3.")
    choices = parser.add_subparsers(dest="verb", metavar="VERB", required=True)
    for name, module in known.items():
        choice = choices.add_parser(name, help=module.HELP, description=module.HELP, allow_abbrev=False)
        if hasattr(module, "add_arguments"):
            module.add_arguments(choice)
    return parser


if __name__ == "__main__":
    sys.exit(main())
