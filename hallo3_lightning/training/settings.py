"""The settings of `hallo3 fit` and its siblings: which there are, and what a command line makes of them."""

import json
import math
from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from copy import deepcopy
from dataclasses import dataclass
from functools import cache, lru_cache
from pathlib import Path
from typing import Any, Literal

import torch
import yaml
from jsonargparse import Namespace
from lightning import Trainer
from lightning.pytorch.cli import LightningArgumentParser, LightningCLI

from datamodules.talking_head import TalkingHead
from hallo3_lightning.errors import UsageError
from hallo3_lightning.find import find, names
from hallo3_lightning.training import launching
from hallo3_lightning.training.complaint import Parser, sentence
from hallo3_lightning.training.parallel import Parallel
from hallo3_lightning.training.saving import OnFailure
from hallo3_lightning.training.which_phase import DEFAULT_PHASE, phase_of

SEED = "seed_everything"
SEEDED = ("model", "data")
"""Groups whose `seed` is that of the run."""


@dataclass(frozen=True)
class Run:
    """Where a run lives and what belongs to it.

    Args:
        root: folder of runs.
        name: first part of the folder's name; the phase by default.
        folder: the folder itself, instead of root/name-seed-fingerprint.
        ancestors: folder of the runs that others start from.
        evaluate: whether `fit` ends with `test`.
        checkpoint_every: steps between checkpoints.
        checkpoints_kept: the newest so many stay.
        checkpoint_in_background: whether training goes on while a copy of the tensors is written.
        checkpoint_failure: whether a run stops or goes on where a checkpoint cannot be written.
        sample_every: validations between sample pictures in TensorBoard; 0 for none.
        signals_every: optimizer steps between two looks at whether any rank was told to stop.
    """

    root: str = "runs"
    name: str | None = None
    folder: str | None = None
    ancestors: str = "runs"
    evaluate: bool = False
    checkpoint_every: int = 100
    checkpoints_kept: int = 2
    checkpoint_in_background: bool = False
    checkpoint_failure: OnFailure = "stop"
    sample_every: int = 1
    signals_every: int = 1


class Settings(LightningCLI):
    """Parses a command line. The phase is known before that, so that its settings are plain keys."""

    def __init__(self, arguments: Sequence[str]) -> None:
        self.arguments = list(arguments)
        self.phase = phase_of(arguments)
        super().__init__(
            find("phases", self.phase),
            TalkingHead,
            save_config_callback=None,
            seed_everything_default=0,
            trainer_class=Trainer,
            trainer_defaults={"use_distributed_sampler": False, "max_epochs": -1},
            parser_class=Parser,
            parser_kwargs={"allow_abbrev": False},  # else `--trainer.max_step` would quietly be max_steps
            auto_configure_optimizers=False,
            args=list(arguments),
        )

    def parse_arguments(self, parser: LightningArgumentParser, args: Any) -> None:
        assert isinstance(parser, Parser)
        self.config = parser.parse_args(args)
        _refuse_bare_groups(self.config[self.config["subcommand"]], parser.known_keys())

    def _parse_ckpt_path(self) -> None:
        """The config is complete without what a checkpoint may hold."""

    def add_arguments_to_parser(self, parser: LightningArgumentParser) -> None:
        parser.add_argument("--phase", default=DEFAULT_PHASE, help=f"what is trained ({', '.join(names('phases'))})")
        parser.add_argument(
            "--resume",
            type=Literal["auto", "never"],
            default="auto",
            help="auto: go on from the newest complete checkpoint of the run, if there is one; never: refuse to",
        )
        parser.add_class_arguments(Run, "run")
        parser.add_class_arguments(Parallel, "parallel")
        parser.add_class_arguments(launching.Slurm, "slurm")
        parser.add_argument(
            launching.PRINT, action="store_true", help="write an sbatch script of this command, and end"
        )
        for group in SEEDED:
            parser.link_arguments(SEED, f"{group}.seed")
        for action in parser._actions:
            for kind in ("identity", "audio"):
                if action.dest == f"model.{kind}":
                    action.help = f"{action.help} [{', '.join(names(f'conditioning.{kind}'))}, none]"

    @property
    def settings(self) -> dict[str, Any]:
        """The resolved config of the verb, as plain values."""
        self._dump_config()
        return self.config_dump


class _FitParser(Settings):
    """Makes the parser of `fit`, and neither parses nor builds anything."""

    @staticmethod
    def subcommands() -> dict[str, set[str]]:
        return {"fit": LightningCLI.subcommands()["fit"]}

    def parse_arguments(self, parser: LightningArgumentParser, args: Any) -> None:
        self.config = Namespace(subcommand="fit")

    def before_instantiate_classes(self) -> None:
        pass

    def instantiate_classes(self) -> None:
        pass

    def _run_subcommand(self, subcommand: str) -> None:
        pass

    def _set_seed(self) -> None:
        pass


class _PhaseAlone(_FitParser):
    """Parses a command line of `fit`, and builds its phase and nothing else."""

    def parse_arguments(self, parser: LightningArgumentParser, args: Any) -> None:
        Settings.parse_arguments(self, parser, args)

    def instantiate_classes(self) -> None:
        with torch.device("meta") if self.settings["parallel"]["meta"] else nullcontext():
            self.built = self.parser.instantiate_classes(self.config)["fit"]["model"]


def settings_of(arguments: Sequence[str]) -> dict[str, Any]:
    """The whole config that `hallo3 fit <arguments>` would run, as plain values; builds nothing."""
    parser = _parser(phase_of(arguments))
    config = parser.parse_args(list(arguments))
    _refuse_bare_groups(config, parser.known_keys())
    # what was parsed is valid; to check it once more takes as long as parsing
    return json.loads(
        parser.dump(config, skip_link_targets=False, skip_none=False, skip_validation=True, format="json")
    )


def phase_built(arguments: Sequence[str]) -> Any:
    """The phase that `hallo3 fit <arguments>` would train, outside of any trainer."""
    return _PhaseAlone(["fit", *arguments]).built


def resolved(layers: Sequence[str | Path], overrides: Mapping[str, Any]) -> dict[str, Any]:
    """The config that `hallo3 fit` with these layers and settings would run, as plain values.

    A layer is a config file, or a setting as one types it (`--model.motion_frames=4`). A function of what the files hold.
    """
    arguments = [str(layer) if str(layer).startswith("--") else f"--config={layer}" for layer in layers]
    arguments += [as_typed(key, value) for key, value in overrides.items()]
    files = [Path(layer) for layer in layers if not str(layer).startswith("--")]
    contents = tuple(file.read_bytes() if file.is_file() else None for file in files)
    return deepcopy(_resolved(tuple(arguments), contents))


def with_seed(config: Mapping[str, Any], seed: int) -> dict[str, Any]:
    """A resolved config as it would be with another seed."""
    return {**config, **{group: {**config[group], "seed": seed} for group in SEEDED}, SEED: seed}


def as_typed(key: str, value: Any) -> str:
    """A setting as one types it: --key=value."""
    if isinstance(value, str):
        return f"--{key}={value}"
    text = yaml.safe_dump(value, default_flow_style=True, width=math.inf, sort_keys=False)
    return f"--{key}={text.strip().removesuffix('...').strip()}"


@lru_cache(maxsize=1024)
def _resolved(arguments: tuple[str, ...], contents: tuple[bytes | None, ...]) -> dict[str, Any]:
    """`contents`: of the files that the arguments name; others in them are another config."""
    return settings_of(arguments)


@cache
def _parser(phase: str) -> Parser:
    """Of `hallo3 fit`: making one takes as long as using it ten times."""
    verbs = _FitParser(["fit", f"--phase={phase}"]).parser._subcommands_action
    assert verbs is not None
    fit = verbs.choices["fit"]
    assert isinstance(fit, Parser)
    return fit


def _refuse_bare_groups(given: Namespace, known: Sequence[str]) -> None:
    """`backbone: 5` in a file passes the parser, which looks at the fields of a group only."""
    for group in dict.fromkeys(key.rpartition(".")[0] for key in known if "." in key):
        value = given.get(group)
        if value is not None and not isinstance(value, Namespace | Mapping):
            raise UsageError(sentence(f'Parser key "{group}": Unable to load config "{value}"', known))
