"""Which parameters move: anchored globs, each of which must match."""

from collections.abc import Iterable
from fnmatch import fnmatchcase

from torch import nn

from hallo3_lightning.errors import unknown


def set_trainable(module: nn.Module, globs: Iterable[str]) -> list[str]:
    """Make exactly the parameters trainable whose whole name one of the globs matches; returns their names.

    Raises UsageError for a glob that matches nothing: it would silently train less than was asked for.
    """
    globs = list(globs)
    parameters = dict(module.named_parameters())
    for glob in globs:
        if not any(fnmatchcase(name, glob) for name in parameters):
            raise unknown("parameter matching", glob, sorted({_stem(name) for name in parameters}), "model.trainable")
    for name, parameter in parameters.items():
        parameter.requires_grad_(any(fnmatchcase(name, glob) for glob in globs))
    return [name for name, parameter in parameters.items() if parameter.requires_grad]


def _stem(name: str) -> str:
    return ".".join(name.split(".")[:2]) + ".*"
