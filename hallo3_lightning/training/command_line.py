"""Lightning's own command line over our phases: every Trainer option, layered --config, one sentence an error."""

import logging
import os
import signal
import sys
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import yaml
from jsonargparse import Namespace
from lightning import Callback, Trainer
from lightning.pytorch.callbacks import LearningRateMonitor, RichProgressBar
from lightning.pytorch.cli import LightningArgumentParser, LightningCLI
from lightning.pytorch.loggers import TensorBoardLogger
from lightning.pytorch.utilities.exceptions import MisconfigurationException, SIGTERMException

from datamodules.talking_head import TalkingHead
from hallo3_lightning.ablation.runs import RunFolder, State, ancestor, ancestor_run, named
from hallo3_lightning.conditioning.conditioner import NONE, strategies
from hallo3_lightning.errors import UsageError
from hallo3_lightning.find import find, names
from hallo3_lightning.training import provenance
from hallo3_lightning.training.alarms import Alarms
from hallo3_lightning.training.checkpoints import (
    EveryFewSteps,
    WholeFiles,
    newest,
    refuse_another_model,
    step_of,
    weights,
)
from hallo3_lightning.training.complaint import Parser, sentence
from hallo3_lightning.training.phase import Phase
from hallo3_lightning.training.pictures import Samples
from hallo3_lightning.training.record import Predictions, Record
from hallo3_lightning.training.resume import CountTrained
from hallo3_lightning.training.which_phase import DEFAULT_PHASE, phase_of

QUIET = (
    ".*LeafSpec.*is deprecated",
    "Found .* in eval mode at the start of training",
    "Checkpoint directory .* exists and is not empty",
    "You're resuming from a checkpoint that ended before the epoch ended",
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
        sample_every: validations between sample pictures in TensorBoard; 0 for none.
    """

    root: str = "runs"
    name: str | None = None
    folder: str | None = None
    ancestors: str = "runs"
    evaluate: bool = False
    checkpoint_every: int = 100
    sample_every: int = 1


class CommandLine(LightningCLI):
    """`hallo3 fit|validate|test|predict`. The phase is known before parsing, so that its settings are plain keys."""

    def __init__(self, arguments: Sequence[str]) -> None:
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
        parser.add_class_arguments(Run, "run")
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
        settings = self.settings
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
        found = Path(config["ckpt_path"]) if config.get("ckpt_path") else newest(self.run.checkpoints)
        if found is not None:
            config["ckpt_path"] = str(found if found.is_file() else newest(found / "checkpoints") or found)
        elif self.subcommand != "fit":
            raise UsageError(
                f"{self.run.path} has no checkpoint to {self.subcommand}; train it with `hallo3 fit` and the same "
                "settings, or name one with --ckpt_path"
            )

    def instantiate_classes(self) -> None:
        super().instantiate_classes()
        resumed = self._get(self.config, "ckpt_path")
        if resumed is not None:
            refuse_another_model(self.model, weights(Path(resumed)), f"the checkpoint '{resumed}'")

    def instantiate_trainer(self, **kwargs: Any) -> Trainer:
        assert self.run is not None
        config = self._get(self.config, "trainer")
        settings = self.settings["run"]
        callbacks: list[Callback] = [
            CountTrained(),
            Record(self.run),
            Predictions(self.run),
            Alarms(),
            LearningRateMonitor("step"),
        ]
        if settings["sample_every"]:
            callbacks.append(Samples(settings["sample_every"]))
        if config["enable_checkpointing"] is not False:
            callbacks.append(EveryFewSteps(self.run.checkpoints, settings["checkpoint_every"]))
        if sys.stdout.isatty() and config["enable_progress_bar"] is not False:
            callbacks.append(RichProgressBar())
        else:
            kwargs["enable_progress_bar"] = False
        given = self._get(self.config_init, "trainer")
        kwargs.setdefault("default_root_dir", str(self.run.path))
        kwargs.setdefault("logger", self._logger() if given["logger"] in (None, True) else given["logger"])
        kwargs.setdefault("plugins", [*_listed(given["plugins"]), WholeFiles()])
        kwargs.setdefault("callbacks", [*_listed(given["callbacks"]), *callbacks])
        try:
            return super().instantiate_trainer(**kwargs)
        except (ValueError, TypeError, MisconfigurationException) as error:
            raise UsageError(f"the settings of trainer do not go together: {' '.join(str(error).split())}") from None

    def _logger(self) -> TensorBoardLogger:
        """Events that a killed process wrote after its last checkpoint are purged: those steps are trained again."""
        assert self.run is not None
        resumed = self._get(self.config, "ckpt_path")
        fit_from = step_of(Path(resumed)) if resumed else 0
        purge_step = fit_from if self.subcommand == "fit" else None
        return TensorBoardLogger(self.run.path, name="", version="tensorboard", purge_step=purge_step)

    def fit(self, model: Phase, **arguments: Any) -> None:
        """Train, or go on, or find nothing to do; then test if the run asks for it."""
        assert self.run is not None
        run = self.run
        if not self._is_finished():
            self._check_before(model)
        with run.locked():
            RunFolder.create(run.path, self.settings)
            if self._is_finished():
                sys.stdout.write(f"finished: {run.path}; nothing to do\n")
                return
            provenance.write(run, self.settings)
            self._recorded(lambda: self._train(model, arguments))
        now = run.status()
        if self.settings["run"]["evaluate"]:
            self._say_scores()
        sys.stdout.write(
            f"finished: {run.path}\n"
            if now.state == "finished"
            else f"stopped at step {now.step} of {now.max_steps}: {run.path}; the same command goes on\n"
        )

    def after_test(self) -> None:
        """Say what the scores are and where."""
        self._say_scores()

    def _say_scores(self) -> None:
        assert self.run is not None
        for name, score in (self.run.metrics() or {"metrics": {}})["metrics"].items():
            error = "" if score["std_error"] is None else f" ± {score['std_error']:.3f}"
            sys.stdout.write(f"{name}: {score['value']:.3f}{error} {score['unit']} ({score['n']} clips)\n")

    def _is_finished(self) -> bool:
        assert self.run is not None
        wanted = self.settings["run"]["evaluate"]
        return self.run.status().state == "finished" and (self.run.metrics() is not None or not wanted)

    def _train(self, model: Phase, arguments: dict[str, Any]) -> None:
        """A run that something else than its last step has ended (max_time, fast_dev_run) is stopped, not finished."""
        assert self.run is not None
        self.trainer.fit(model, **arguments)
        wanted = self.settings["trainer"]["max_steps"]
        ended = self.trainer.global_step >= wanted
        if ended and self.settings["run"]["evaluate"]:
            self.trainer.test(model, datamodule=self.datamodule, verbose=False)
        state: State = "finished" if ended else "stopped"
        self.run.record(replace(self.run.status(), state=state, max_steps=wanted, error=""))

    def _recorded(self, work: Callable[[], None]) -> None:
        """Do it; what stops it is written into the run's status before it goes on its way.

        Lightning has caught Ctrl-C and SIGTERM and turned them into SystemExit by then.
        """
        assert self.run is not None
        try:
            work()
        except (KeyboardInterrupt, SystemExit) as error:
            self.run.record(replace(self.run.status(), state="stopped", error=""))
            if isinstance(error, SIGTERMException):
                raise SystemExit(128 + signal.SIGTERM) from None
            raise KeyboardInterrupt from None
        except BaseException as error:
            text = " ".join(f"{type(error).__name__}: {error}".split())
            self.run.record(replace(self.run.status(), state="failed", error=text))
            raise

    def _check_before(self, model: Phase) -> None:
        """What the strategies and the test need is there, before the first step and before anything is written."""
        model.check(self.datamodule.first_batch())
        if self.settings["run"]["evaluate"]:
            self.datamodule.setup("test")


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
    CommandLine(arguments)
    return 0


def _as_argument(value: Any) -> str:
    return (
        value if isinstance(value, str) else yaml.safe_dump(value, default_flow_style=True).replace("...", "").strip()
    )


def _listed(value: Any) -> list[Any]:
    if value is None:
        return []
    return list(value) if isinstance(value, list | tuple) else [value]
