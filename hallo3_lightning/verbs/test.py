from collections.abc import Sequence

HELP = "generate held-out clips of a trained run and score them against the truth"


def run(arguments: Sequence[str]) -> int:
    from hallo3_lightning.training import command_line

    return command_line.run(arguments)
