"""find(folder, name): a strategy is a file, and the one class in that file."""

import importlib
import importlib.util
import inspect
import pkgutil
from types import ModuleType
from typing import Any

from hallo3_lightning.errors import UsageError, unknown


def names(folder: str) -> list[str]:
    """Strategies in a folder of the package, e.g. names("conditioning.audio") -> ["adaln", "cross_attention", ...]."""
    package = importlib.import_module(f"hallo3_lightning.{folder}")
    return sorted(module.name for module in pkgutil.iter_modules(package.__path__) if not module.name.startswith("_"))


def find(folder: str, name: str) -> Any:
    """The public class that file `name` of `folder` defines.

    Raises UsageError when there is no such file: it names the nearest one and lists the rest.
    """
    if name not in names(folder):
        raise unknown(
            folder.rsplit(".", 1)[-1] + " strategy" if "conditioning" in folder else folder, name, names(folder)
        )
    return _only_class(importlib.import_module(f"hallo3_lightning.{folder}.{name}"))


def _only_class(module: ModuleType) -> Any:
    """The last public class that the module defines; parts of a strategy stand above it, underscored or not."""
    classes = [
        item
        for name, item in vars(module).items()
        if inspect.isclass(item) and item.__module__ == module.__name__ and not name.startswith("_")
    ]
    if not classes:
        raise UsageError(f"{module.__file__} defines no class; a strategy is a file with one, whatever its name")
    return classes[-1]
