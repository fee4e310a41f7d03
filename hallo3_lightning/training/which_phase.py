"""Which phase a command line asks for: needed before it is parsed, for the phase decides which settings there are."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from hallo3_lightning.errors import UsageError, unknown
from hallo3_lightning.find import names
from hallo3_lightning.strict_yaml import read_strictly

DEFAULT_PHASE = "audio"


def phase_of(arguments: Sequence[str]) -> str:
    """The phase that a command line asks for: the last of --phase and of `phase:` in its config files."""
    phase = DEFAULT_PHASE
    for i, argument in enumerate(arguments):
        name, _, value = argument.partition("=")
        value = value or (arguments[i + 1] if i + 1 < len(arguments) else "")
        if name == "--phase":
            phase = value
        elif name in ("--config", "-c"):
            phase = _phase_in(value) or phase
    if phase not in names("phases"):
        raise unknown("phase", str(phase), names("phases"))
    return phase


def _phase_in(file: str) -> str | None:
    if not Path(file).is_file():
        raise UsageError(f"no config file '{file}'; those that come with the project are in experiments/")
    content = read_strictly(Path(file))
    if content is not None and not isinstance(content, Mapping):
        raise UsageError(f"'{file}' holds no settings; expected lines like `model: {{audio: adaln}}`")
    for group in ("trainer", "model", "data", "run"):
        inner = (content or {}).get(group)
        if inner is not None and not isinstance(inner, Mapping):
            raise UsageError(f"'{file}': {group} is {inner!r}; expected a mapping of its settings")
    return (content or {}).get("phase")
