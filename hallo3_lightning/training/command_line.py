"""Lightning's own command line over our phases: every Trainer option, layered --config, one sentence an error."""

import logging
import os
import sys
import warnings
from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Literal

import torch
import yaml
from jsonargparse import Namespace
from lightning import Trainer
from lightning.pytorch.cli import LightningArgumentParser, LightningCLI
from lightning.pytorch.loggers import Logger
from lightning.pytorch.utilities import rank_zero_warn
from lightning.pytorch.utilities.exceptions import MisconfigurationException

from datamodules.talking_head import TalkingHead
from hallo3_lightning.ablation.runs import RunFolder, ancestor, ancestor_run, named
from hallo3_lightning.conditioning.conditioner import NONE, strategies
from hallo3_lightning.cost import work_of
from hallo3_lightning.errors import UsageError
from hallo3_lightning.find import find, names
from hallo3_lightning.training import equipment, launching
from hallo3_lightning.training.checkpoints import (
    MODEL,
    located,
    newest,
    outlines,
    refuse_another_model,
    step_of,
    torn_after,
)
from hallo3_lightning.training.complaint import Parser, sentence
from hallo3_lightning.training.execution import Execution
from hallo3_lightning.training.parallel import Parallel, strategy_for
from hallo3_lightning.training.phase import Phase
from hallo3_lightning.training.saving import OnFailure
from hallo3_lightning.training.signals import Ear, Guard
from hallo3_lightning.training.watch import DataWait, Speed
from hallo3_lightning.training.which_phase import DEFAULT_PHASE, phase_of
from hallo3_lightning.training.writing import Folders

QUIET = (
    ".*LeafSpec.*is deprecated",
    "Found .* in eval mode at the start of training",
    "Checkpoint directory .* exists and is not empty",
    "You're resuming from a checkpoint that ended before the epoch ended",
    "FSDP2-wrapped module .* returned a view tensor",  # of the reference network, and nobody writes into it
    "The `srun` command is available on your system but is not used",
)
"""Lightning's warnings that are no news: its own code, our frozen encoders, and resuming, which TalkingHead sees to."""


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


class CommandLine(LightningCLI):
    """`hallo3 fit|validate|test|predict`. The phase is known before parsing, so that its settings are plain keys."""

    def __init__(self, arguments: Sequence[str], ear: Ear | None = None) -> None:
        self.arguments = list(arguments)
        self.ear = ear or Ear()
        self.phase = phase_of(arguments)
        self.run: RunFolder | None = None
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
        self.config = parser.parse_args(args)
        self._refuse_bare_groups()

    def _refuse_bare_groups(self) -> None:
        """`backbone: 5` in a file passes the parser, which looks at the fields of a group only."""
        assert isinstance(self.parser, Parser)
        given, known = self.config[self.config["subcommand"]], self.parser.known_keys()
        for group in dict.fromkeys(key.rpartition(".")[0] for key in known if "." in key):
            value = given.get(group)
            if value is not None and not isinstance(value, Namespace | Mapping):
                raise UsageError(sentence(f'Parser key "{group}": Unable to load config "{value}"', known))

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
        parser.link_arguments("seed_everything", "model.seed")
        parser.link_arguments("seed_everything", "data.seed")
        for action in parser._actions:
            for kind in ("identity", "audio"):
                if action.dest == f"model.{kind}":
                    action.help = f"{action.help} [{', '.join(names(f'conditioning.{kind}'))}, none]"

    @property
    def settings(self) -> dict[str, Any]:
        """The resolved config of the verb, as plain values."""
        self._dump_config()
        return self.config_dump

    def before_instantiate_classes(self) -> None:
        settings = launching.as_in_job(self.settings)
        self.run = named(settings)
        config = self.config[self.subcommand]
        if settings["trainer"]["max_steps"] < 1:
            raise UsageError(
                f"trainer.max_steps is {settings['trainer']['max_steps']}; the data have no end, so a run needs one: "
                "set it to the number of optimizer steps"
            )
        for kind in ("identity", "audio"):
            strategies(kind, settings["model"].get(kind, NONE))
        TalkingHead(**settings["data"]).prepare_data()
        if ancestor(settings) is not None:
            config["model"]["init_from"] = str(checkpoint_of_ancestor(settings))
        found = self._checkpoint(config)
        config["ckpt_path"] = None if found is None else str(found)
        if self.subcommand == "fit" and (settings["print_sbatch"] or settings["slurm"]["nodes"]):
            self._give_to_slurm(settings)
            raise SystemExit(0)

    def _give_to_slurm(self, settings: Mapping[str, Any]) -> None:
        assert self.run is not None
        if settings["print_sbatch"]:
            sys.stdout.write(launching.sbatch_script(self.arguments, settings, self.run))
            return
        job = launching.submit(self.arguments, settings, self.run)
        sys.stdout.write(f"submitted: job {job}, {self.run.path}; its output: {self.run.path}/slurm/{job}/\n")

    def _checkpoint(self, config: Mapping[str, Any]) -> Path | None:
        """The one to go on from or to look at: what was named, else the newest complete one of the run."""
        assert self.run is not None
        if config.get("ckpt_path"):
            return located(Path(config["ckpt_path"]))
        found = newest(self.run.checkpoints)
        for torn, reason in torn_after(self.run.checkpoints, found).items():
            rank_zero_warn(f"{torn} is torn ({reason}): taking {found.name if found else 'none'} instead")
        if found is None and self.subcommand != "fit":
            raise UsageError(
                f"{self.run.path} has no checkpoint to {self.subcommand}; train it with `hallo3 fit` and the same "
                "settings, or name one with --ckpt_path"
            )
        if found is not None and config.get("resume") == "never":
            raise UsageError(
                f"{self.run.path} holds {found.name} and --resume is never; remove the run's folder, name another with "
                "--run.folder, or go on with --resume auto"
            )
        return found

    def instantiate_classes(self) -> None:
        with torch.device("meta") if self.settings["parallel"]["meta"] else nullcontext():
            super().instantiate_classes()
        resumed = self._get(self.config, "ckpt_path")
        if resumed is not None:
            given = {name.removeprefix(MODEL): shape for name, shape in outlines(Path(resumed), MODEL).items()}
            refuse_another_model(self.model, given, f"the checkpoint '{resumed}'")

    def instantiate_trainer(self, **kwargs: Any) -> Trainer:
        assert self.run is not None
        config = self._get(self.config, "trainer")
        settings, parallel = self.settings["run"], Parallel(**self.settings["parallel"])
        self.guard = Guard(self.ear, settings["signals_every"], self.settings["parallel"]["timeout_s"])
        shows_progress = sys.stdout.isatty() and config["enable_progress_bar"] is not False
        if not shows_progress:
            kwargs["enable_progress_bar"] = False
        keeps = config["enable_checkpointing"] is not False
        resumed = self._get(self.config, "ckpt_path")
        callbacks = equipment.callbacks(self.run, self.settings, self.guard, resumed, keeps, shows_progress)
        given = self._get(self.config_init, "trainer")
        data_wait = DataWait() if given["profiler"] is None else None
        callbacks.append(Speed(partial(work_of, self.settings), data_wait))
        kwargs.setdefault("profiler", data_wait or given["profiler"])
        kwargs.setdefault("default_root_dir", str(self.run.path))
        kwargs.setdefault("logger", self._loggers() if given["logger"] in (None, True) else given["logger"])
        kwargs.setdefault("plugins", [*_listed(given["plugins"]), Folders(settings["checkpoint_in_background"])])
        kwargs.setdefault("callbacks", [*_listed(given["callbacks"]), *callbacks])
        try:
            background = settings["checkpoint_in_background"]
            kwargs.setdefault("strategy", strategy_for(parallel, given["strategy"], given["precision"], background))
            return super().instantiate_trainer(**kwargs)
        except UsageError:
            raise
        except (ValueError, TypeError, MisconfigurationException) as error:
            raise UsageError(f"the settings of trainer do not go together: {' '.join(str(error).split())}") from None

    def _loggers(self) -> list[Logger]:
        assert self.run is not None
        resumed = self._get(self.config, "ckpt_path")
        fit_from = step_of(Path(resumed)) if resumed else 0
        return equipment.loggers(self.run, fit_from if self.subcommand == "fit" else None)

    def fit(self, model: Phase, **arguments: Any) -> None:
        """Train, or go on, or find nothing to do; then test if the run asks for it."""
        self._execution.fit(model, **arguments)

    def after_test(self) -> None:
        """Say what the scores are and where."""
        self._execution.say_scores()

    @property
    def _execution(self) -> Execution:
        assert self.run is not None
        return Execution(self.run, self.settings, self.trainer, self.datamodule, self.guard)


class ConfigOnly(CommandLine):
    """Parses and checks a command line of `fit`, and builds nothing."""

    @staticmethod
    def subcommands() -> dict[str, set[str]]:
        """The parser of one verb takes a quarter of the time of four."""
        return {"fit": LightningCLI.subcommands()["fit"]}

    def before_instantiate_classes(self) -> None:
        pass

    def instantiate_classes(self) -> None:
        pass

    def _run_subcommand(self, subcommand: str) -> None:
        pass

    def _set_seed(self) -> None:
        pass


def checkpoint_of_ancestor(settings: Mapping[str, Any]) -> Path:
    """The newest checkpoint of the run that a run starts from. Raises UsageError that says how to make it."""
    run, files = ancestor_run(settings), ancestor(settings)
    assert run is not None
    assert files is not None
    found = newest(run.checkpoints)
    wanted = run.config()["trainer"]["max_steps"] if found else 0
    if found is None or step_of(found) < wanted:
        reached = "has no checkpoint yet" if found is None else f"is at step {step_of(found)} of {wanted}"
        command = " ".join(["hallo3 fit", *(f"--config {file}" for file in files)])
        raise UsageError(
            f"this phase starts from the run of {' + '.join(files)}, which {reached} ({run.path}); train it with "
            f"`{command} --run.root {settings['run']['ancestors']}`, or name another with --model.init_from"
        )
    return found


def resolved(configs: Sequence[str | Path], overrides: Mapping[str, Any]) -> dict[str, Any]:
    """The config that `hallo3 fit` with these files and settings would run, as plain values."""
    arguments = ["fit", *(f"--config={file}" for file in configs)]
    arguments += [f"--{key}={_as_argument(value)}" for key, value in overrides.items()]
    return ConfigOnly(arguments).settings


def run(arguments: Sequence[str]) -> int:
    """`hallo3 fit ...` and its siblings."""
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    for library in ("lightning.pytorch", "lightning.fabric"):
        logging.getLogger(library).setLevel(logging.WARNING)  # else tips and notices bury what a user must read
    for notice in QUIET:
        warnings.filterwarnings("ignore", message=notice)
    launching.meet_anew()
    ear = Ear()
    with ear.listening() if arguments[0] == "fit" else nullcontext():
        CommandLine(arguments, ear)
    return 0


def _as_argument(value: Any) -> str:
    return (
        value if isinstance(value, str) else yaml.safe_dump(value, default_flow_style=True).replace("...", "").strip()
    )


def _listed(value: Any) -> list[Any]:
    if value is None:
        return []
    return list(value) if isinstance(value, list | tuple) else [value]
