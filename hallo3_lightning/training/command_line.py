"""Lightning's own command line over our phases: every Trainer option, layered --config, one sentence an error."""

import logging
import os
import shlex
import sys
import warnings
from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from functools import partial
from pathlib import Path
from typing import Any

import torch
from lightning import Trainer
from lightning.pytorch.loggers import Logger
from lightning.pytorch.utilities import rank_zero_warn
from lightning.pytorch.utilities.exceptions import MisconfigurationException

from datamodules.talking_head import TalkingHead
from hallo3_lightning.ablation.meaning import ancestor, files_of, scores_only
from hallo3_lightning.ablation.runs import RunFolder, ancestor_run, named
from hallo3_lightning.conditioning.conditioner import NONE, strategies
from hallo3_lightning.cost import work_of
from hallo3_lightning.errors import UsageError
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
from hallo3_lightning.training.execution import Execution
from hallo3_lightning.training.parallel import Parallel, strategy_for
from hallo3_lightning.training.phase import Phase
from hallo3_lightning.training.settings import Settings
from hallo3_lightning.training.signals import Ear, Guard
from hallo3_lightning.training.watch import DataWait, Speed
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


class CommandLine(Settings):
    """`hallo3 fit|validate|test|predict`."""

    def __init__(self, arguments: Sequence[str], ear: Ear | None = None) -> None:
        self.ear = ear or Ear()
        self.run: RunFolder | None = None
        super().__init__(arguments)

    def before_instantiate_classes(self) -> None:
        settings = launching.as_in_job(self.settings)
        self.run = named(settings)
        config = self.config[self.subcommand]
        if settings["trainer"]["max_steps"] < 1 and not scores_only(settings):
            raise UsageError(
                f"trainer.max_steps is {settings['trainer']['max_steps']}; the data have no end, so a run needs one: "
                "set it to the number of optimizer steps, or to 0 with --run.evaluate true to score what the run starts "
                "from as it is"
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


def checkpoint_of_ancestor(settings: Mapping[str, Any]) -> Path:
    """The newest checkpoint of the run that a run starts from. Raises UsageError that says how to make it."""
    run, layers = ancestor_run(settings), ancestor(settings)
    assert run is not None
    assert layers is not None
    found = newest(run.checkpoints)
    wanted = run.config()["trainer"]["max_steps"] if found else 0
    if found is None or step_of(found) < wanted:
        reached = "has no checkpoint yet" if found is None else f"is at step {step_of(found)} of {wanted}"
        typed = shlex.join(
            word for layer in layers for word in ([layer] if layer.startswith("--") else ["--config", layer])
        )
        raise UsageError(
            f"this phase starts from the run of {' + '.join(files_of(layers))}, which {reached} ({run.path}); train it "
            f"with `hallo3 fit {typed} --run.root {settings['run']['ancestors']}`, or name another with --model.init_from"
        )
    return found


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


def _listed(value: Any) -> list[Any]:
    if value is None:
        return []
    return list(value) if isinstance(value, list | tuple) else [value]
