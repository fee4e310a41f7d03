from collections.abc import Sequence

HELP = "loss of a trained run on held-out clips"


def run(arguments: Sequence[str]) -> int:
    from hallo3_lightning.training import command_line

    return command_line.run(arguments)
