"""The one exception that a user is meant to read."""

import difflib
from collections.abc import Iterable


class UsageError(ValueError):
    """Something that the user can mend: says what was wrong, what was expected, what to do.

    The command line prints it as one line and exits with status 2; every other exception keeps its traceback.
    """


def unknown(what: str, name: str, known: Iterable[str], where: str = "") -> UsageError:
    """The error for a name that is not among the known ones: names the nearest and lists the rest."""
    known = sorted(known)
    near = difflib.get_close_matches(name, known, n=1, cutoff=0.5)
    guess = f"did you mean '{near[0]}'? " if near else ""
    place = f" in {where}" if where else ""
    return UsageError(f"no {what} '{name}'{place}; {guess}there are: {', '.join(known) or 'none'}")
