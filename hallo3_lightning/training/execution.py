"""A run from before its first step to behind its test: its lock, its folder, its status, and whatever ends it."""

import sys
from collections.abc import Callable, Mapping
from contextlib import nullcontext
from dataclasses import replace
from typing import Any

from lightning import Trainer

from datamodules.talking_head import TalkingHead
from hallo3_lightning.ablation.meaning import scores_only
from hallo3_lightning.ablation.runs import RunFolder, State, ancestor_run
from hallo3_lightning.errors import UsageError
from hallo3_lightning.training import launching, provenance
from hallo3_lightning.training.checkpoints import newest, step_of
from hallo3_lightning.training.phase import Phase
from hallo3_lightning.training.saving import EveryFewSteps
from hallo3_lightning.training.signals import Guard, Stopped, hung


class Execution:
    """Carries a run out in its folder; the first rank speaks and writes for all."""

    def __init__(
        self, run: RunFolder, settings: Mapping[str, Any], trainer: Trainer, datamodule: TalkingHead, guard: Guard
    ) -> None:
        self.run, self.settings, self.trainer, self.datamodule, self.guard = run, settings, trainer, datamodule, guard

    def fit(self, model: Phase, **arguments: Any) -> None:
        """Train, or go on, or find nothing to do; then test if the run asks for it."""
        run = self.run
        if not self._is_finished():
            self._check_before(model)
        with run.locked() if self.trainer.is_global_zero else nullcontext():
            if self.trainer.is_global_zero:
                RunFolder.create(run.path, self.settings)
            if self._is_finished():
                self._say(f"finished: {run.path}; nothing to do\n")
                return
            if self.trainer.is_global_zero:
                provenance.write(run, self.settings)
            self._recorded(lambda: self._train(model, arguments))
        now = run.status()
        if self.settings["run"]["evaluate"]:
            self.say_scores()
        self._say(
            f"finished: {run.path}\n"
            if now.state == "finished"
            else f"stopped at step {now.step} of {now.max_steps}: {run.path}; the same command goes on\n"
        )

    def _say(self, sentence: str) -> None:
        """Once, whatever the number of ranks."""
        if self.trainer.is_global_zero:
            sys.stdout.write(sentence)

    def say_scores(self) -> None:
        """One line a metric, once."""
        for name, score in (self.run.metrics() or {"metrics": {}})["metrics"].items():
            error = "" if score["std_error"] is None else f" ± {score['std_error']:.3f}"
            self._say(f"{name}: {score['value']:.3f}{error} {score['unit']} ({score['n']} clips)\n")

    def _is_finished(self) -> bool:
        wanted = self.settings["run"]["evaluate"]
        return self.run.status().state == "finished" and (self.run.metrics() is not None or not wanted)

    def _train(self, model: Phase, arguments: dict[str, Any]) -> None:
        """A run that something else than its last step has ended (max_time, fast_dev_run) is stopped, not finished."""
        wanted = self.settings["trainer"]["max_steps"]
        if scores_only(self.settings):
            self._score(model)
            return
        self.trainer.fit(model, **arguments)
        ended = self.trainer.global_step >= wanted
        if ended:
            self._refuse_to_end_unsaved(wanted)
        if ended and self.settings["run"]["evaluate"]:
            self.trainer.test(model, datamodule=self.datamodule, verbose=False)
        state: State = "finished" if ended else "stopped"
        self._record(state=state, max_steps=wanted)

    def _score(self, model: Phase) -> None:
        """A run of no steps: what it starts from has been trained by another run, whose facts are also its own."""
        before = ancestor_run(self.settings)
        if self.trainer.is_global_zero:
            self.run.record_facts(**({"steps": 0, "seconds": 0.0} | (before.facts() if before else {})))
        self.trainer.test(model, datamodule=self.datamodule, verbose=False)
        self._record(state="finished")

    def _refuse_to_end_unsaved(self, wanted: int) -> None:
        """With run.checkpoint_failure go_on a run may come to its last step and have nothing to show for it."""
        if not any(isinstance(callback, EveryFewSteps) for callback in self.trainer.callbacks):  # type: ignore[attr-defined]
            return
        last = newest(self.run.checkpoints)
        if last is None or step_of(last) < wanted:
            self._record(state="stopped", max_steps=wanted)
            raise UsageError(
                f"{self.run.path} has trained {wanted} steps, but its last checkpoint could not be written; make room, and "
                f"type the same command again: it goes on from {last.name if last else 'the beginning'}"
            )

    def _recorded(self, work: Callable[[], None]) -> None:
        """Do it; what stops it is written into the run's status before it goes on its way.

        Lightning has caught Ctrl-C and turned it into SystemExit by then.
        """
        try:
            work()
        except Stopped as stopped:
            self._record(state="stopped", step=self.trainer.global_step)
            if self.trainer.is_global_zero and self.settings["slurm"]["requeue"]:
                launching.requeue()
            self.guard.agreement.all_of(None)  # SLURM ends the job with the first rank that leaves it
            raise SystemExit(stopped.code) from None
        except (KeyboardInterrupt, SystemExit):
            self._record(state="stopped")
            raise KeyboardInterrupt from None
        except BaseException as error:
            missed = hung(error, self.settings["parallel"]["timeout_s"])
            self._record(state="failed", error=missed or " ".join(f"{type(error).__name__}: {error}".split()))
            if missed is not None:
                raise UsageError(missed) from error
            raise

    def _record(self, **changes: Any) -> None:
        """Into the run's status, by the first rank."""
        if self.trainer.is_global_zero:
            self.run.record(replace(self.run.status(), **({"error": ""} | changes)))

    def _check_before(self, model: Phase) -> None:
        """What the strategies and the test need is there, before the first step and before anything is written."""
        model.check(self.datamodule.first_batch())
        if self.settings["run"]["evaluate"]:
            self.datamodule.setup("test")
