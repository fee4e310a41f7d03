from collections.abc import Sequence

HELP = "parameters, operations and memory of a config: takes what `fit` takes, and --json"


def run(arguments: Sequence[str]) -> int:
    from hallo3_lightning.describe import describe

    return describe(arguments[1:])
