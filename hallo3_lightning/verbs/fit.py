from collections.abc import Sequence

HELP = "train a phase, or go on with it: hallo3 fit --config experiments/tiny/audio.yaml --model.audio adaln"


def run(arguments: Sequence[str]) -> int:
    from hallo3_lightning.training import command_line

    return command_line.run(arguments)
