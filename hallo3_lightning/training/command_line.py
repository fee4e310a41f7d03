"""Lightning's own command line over our phases: every Trainer option, layered --config, one sentence an error."""

import os
import re
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

import yaml
from lightning import Callback, Trainer
from lightning.pytorch.callbacks import LearningRateMonitor, RichProgressBar
from lightning.pytorch.cli import LightningArgumentParser, LightningCLI
from lightning.pytorch.loggers import TensorBoardLogger

from datamodules.talking_head import TalkingHead
from hallo3_lightning.ablation.runs import RunFolder, Status, named
from hallo3_lightning.errors import UsageError, unknown
from hallo3_lightning.find import find, names
from hallo3_lightning.training import provenance
from hallo3_lightning.training.checkpoints import EveryFewSteps, WholeFiles, newest, step_of
from hallo3_lightning.training.phase import Phase
from hallo3_lightning.training.pictures import Samples
from hallo3_lightning.training.record import CountTrained, Record

VERBS = ("fit", "validate", "test", "predict")
DEFAULT_PHASE = "audio"


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


class Parser(LightningArgumentParser):
    """Says what is wrong in one sentence, names the nearest known key, and exits with status 2."""

    def error(self, message: str, ex: Exception | None = None) -> NoReturn:
        raise UsageError(_sentence(message, self._known_keys()))

    def _known_keys(self) -> list[str]:
        own = [action.dest for action in self._actions if action.dest != "help"]
        inner = getattr(self, "_subcommands_action", None)
        parsers = inner.choices.values() if inner is not None and inner.choices else []
        return own + [key for parser in parsers for key in parser._known_keys()]


def _sentence(message: str, known: Sequence[str]) -> str:
    """The first line of a parser's complaint, with the nearest key where one is unknown."""
    text = " ".join(message.split())
    found = re.search(r"[Kk]ey '?\"?([\w.]+)'?\"? is not expected|Unrecognized arguments?: (?:--)?([\w.]+)", text)
    found = found or re.search(r"does not accept nested key '([\w.]+)'", text)
    if found:
        key = next(group for group in found.groups() if group)
        leaf = key.rsplit(".", 1)[0] + "." if "." in key else ""
        near = [name for name in known if name.startswith(leaf)] or list(known)
        return str(unknown("setting", key, near))
    return text


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
            auto_configure_optimizers=False,
            args=list(arguments),
        )

    def parse_arguments(self, parser: LightningArgumentParser, args: Any) -> None:
        self.config = parser.parse_args(args)

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
        self.run = named(self.settings)
        config = self.config[self.subcommand]
        if self.subcommand == "fit" and config.get("ckpt_path") is None:
            found = newest(self.run.checkpoints)
            config["ckpt_path"] = None if found is None else str(found)
        if self.subcommand != "fit" and config.get("ckpt_path") is None:
            config["ckpt_path"] = str(self._trained_checkpoint())

    def instantiate_trainer(self, **kwargs: Any) -> Trainer:
        assert self.run is not None
        config = self._get(self.config, "trainer")
        resumed = self._get(self.config, "ckpt_path")
        settings = self.settings["run"]
        logger = TensorBoardLogger(
            self.run.path, name="", version="tensorboard", purge_step=step_of(Path(resumed)) + 1 if resumed else None
        )
        callbacks: list[Callback] = [CountTrained(), Record(self.run), LearningRateMonitor("step")]
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
        kwargs.setdefault("logger", logger if given["logger"] in (None, True) else given["logger"])
        kwargs.setdefault("plugins", [*_listed(given["plugins"]), WholeFiles()])
        kwargs.setdefault("callbacks", [*_listed(given["callbacks"]), *callbacks])
        return super().instantiate_trainer(**kwargs)

    def fit(self, model: Phase, **arguments: Any) -> None:
        """Train, or go on, or find nothing to do; then test if the run asks for it."""
        assert self.run is not None
        run, evaluate = self.run, self.settings["run"]["evaluate"]
        with run.locked():
            RunFolder.create(run.path, self.settings)
            if run.status().state == "finished" and (run.metrics() is not None or not evaluate):
                sys.stdout.write(f"finished: {run.path}; nothing to do\n")
                return
            self._check_before(model)
            provenance.write(run, self.settings)
            self._recorded(lambda: self._train(model, arguments))
        sys.stdout.write(f"finished: {run.path}\n")

    def _train(self, model: Phase, arguments: dict[str, Any]) -> None:
        assert self.run is not None
        self.trainer.fit(model, **arguments)
        if self.trainer.interrupted:
            raise KeyboardInterrupt
        if self.settings["run"]["evaluate"]:
            self.trainer.test(model, datamodule=self.datamodule, verbose=False)
        last = self.run.status()
        self.run.record(Status(**{**vars(last), "state": "finished", "error": ""}))

    def _recorded(self, work: Any) -> None:
        """Do it; what stops it is written into the run's status before it goes on its way."""
        assert self.run is not None
        try:
            work()
        except BaseException as error:
            state = "stopped" if isinstance(error, KeyboardInterrupt | SystemExit) else "failed"
            text = f"{type(error).__name__}: {error}".splitlines()[0]
            self.run.record(Status(**{**vars(self.run.status()), "state": state, "error": text}))
            raise

    def _check_before(self, model: Phase) -> None:
        """What the strategies need is there, before the first step and not after six hours."""
        model.check(self.datamodule.first_batch())

    def _trained_checkpoint(self) -> Path:
        assert self.run is not None
        found = newest(self.run.checkpoints)
        if found is None:
            raise UsageError(
                f"{self.run.path} has no checkpoint to {self.subcommand}; train it with `hallo3 fit` and the same "
                "settings, or name one with --ckpt_path"
            )
        return found


class ConfigOnly(CommandLine):
    """Parses and checks a command line, and builds nothing."""

    def before_instantiate_classes(self) -> None:
        pass

    def instantiate_classes(self) -> None:
        pass

    def _run_subcommand(self, subcommand: str) -> None:
        pass

    def _set_seed(self) -> None:
        pass


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
    return phase


def _phase_in(file: str) -> str | None:
    if not Path(file).is_file():
        raise UsageError(f"no config file '{file}'; those that come with the project are in experiments/")
    try:
        content = yaml.safe_load(Path(file).read_text())
    except yaml.YAMLError as error:
        raise UsageError(f"'{file}' is not YAML: {' '.join(str(error).split())}") from None
    if content is not None and not isinstance(content, Mapping):
        raise UsageError(f"'{file}' holds no settings; expected lines like `model: {{audio: adaln}}`")
    return (content or {}).get("phase")


def resolved(configs: Sequence[str | Path], overrides: Mapping[str, Any]) -> dict[str, Any]:
    """The config that `hallo3 fit` with these files and settings would run, as plain values."""
    arguments = ["fit", *(f"--config={file}" for file in configs)]
    arguments += [f"--{key}={_as_argument(value)}" for key, value in overrides.items()]
    return ConfigOnly(arguments).settings


def run(arguments: Sequence[str]) -> int:
    """`hallo3 fit ...` and its siblings."""
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
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
