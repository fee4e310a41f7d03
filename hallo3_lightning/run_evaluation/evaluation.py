"""evaluate RUN: generate the held-out clips of a trained run under a protocol, and score them as videos and against the truth.

Everything lies in one folder, and is gone on with from there. Processes that share the work (evaluation/shares.py) meet
twice, at files alone: before scoring, at the files of all clips; before the table, at the features of all clips.
"""

import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from rich.console import Console

from datamodules.processes import alone, spread
from hallo3_lightning.errors import UsageError
from hallo3_lightning.evaluation.counted import counted
from hallo3_lightning.evaluation.file_names import file_names
from hallo3_lightning.evaluation.folders import Pairing, pair
from hallo3_lightning.evaluation.folders_evaluation import FolderEvaluation, duration, progress
from hallo3_lightning.evaluation.networks import Networks
from hallo3_lightning.evaluation.recipe import Recipe
from hallo3_lightning.evaluation.scoring import Scores
from hallo3_lightning.evaluation.shares import Share
from hallo3_lightning.evaluation.told import Told
from hallo3_lightning.run_evaluation.clip_files import CLIPS, ClipFiles, Facts
from hallo3_lightning.run_evaluation.generation import Generation, claim, generation_of, run_under
from hallo3_lightning.run_evaluation.ground_truth import told
from hallo3_lightning.run_evaluation.making import Clip, Make, forget, held_out_clips
from hallo3_lightning.run_evaluation.trained import Trained


@dataclass(frozen=True)
class RunEvaluation:
    """A trained run under a protocol; the same one goes on from what it has done."""

    run_folder: Path
    recipe: Recipe
    networks: Networks
    out: Path
    workers: int = 1
    share: Share = field(default_factory=Share)

    def run(self, console: Console) -> Scores | None:
        """Make what is missing, score everything, write the report and print its table. None in all but the first of
        processes that share the work."""
        run = run_under(self.run_folder, self.recipe)
        clips = self._clips(run)
        generation = generation_of(run, self.networks.device)
        place = self._working_place()
        claim(self.out, generation, speaks_for=f"protocol {self.recipe.name}")
        with alone(place, "generating into"):
            self._generate(run, clips, console)
            self.share.wait(lambda: len(self._undone(clips)), "clips")
            facts = [self._facts(clip) for clip in clips]
            self._files.write_known(facts, with_faces=self._faces_are_known(facts))
        pairing = self._pairing(facts)
        about = self._about(run, generation)
        known = told(self._files, facts, generation, about) if self.share.is_first else Told()
        scoring = FolderEvaluation(self.recipe, pairing, self.networks, self.out, self.workers, self.share)
        scores = scoring.run(console, known)
        if scores is not None:
            self._files.sweep()
        return scores

    @property
    def _files(self) -> ClipFiles:
        return ClipFiles(self.out)

    def _working_place(self) -> Path:
        """Apart from that of scoring, which has a lock of its own."""
        return self.share.place(self.out / CLIPS)

    def _clips(self, run: Trained) -> list[Clip]:
        """All held-out clips; UsageError where the data cannot give what the protocol asks for."""
        samples = run.data().held_out_samples  # what is wrong with the data themselves says so without the protocol
        try:
            clips = held_out_clips(run)
        except UsageError as error:
            asked = f"protocol {self.recipe.name} asks for {self.recipe.frames} frames a clip"
            raise UsageError(f"{asked if self.recipe.frames else run.folder}: {error}") from error
        names = file_names([samples.key(number) for number in range(clips.count)])
        return [Clip(number, name) for number, name in enumerate(names)]

    def _undone(self, clips: Sequence[Clip]) -> list[Clip]:
        return [clip for clip in clips if self._files.facts(clip.name) is None]

    def _generate(self, run: Trained, clips: Sequence[Clip], console: Console) -> None:
        """This process's share of what is missing; the first clip here, to say what the others take."""
        mine = self.share.of(clips)
        missing = self._undone(mine)
        make = Make(run, self._files, self.networks.device)
        console.print(
            f"{run.folder.name} at step {run.step}: {counted(len(mine), 'held-out clip')}, {len(mine) - len(missing)} made "
            "before",
            highlight=False,
            soft_wrap=True,
        )
        if not missing:
            return
        took = self._first(make, missing[0])
        rest = missing[1:]
        console.print(
            f"{len(rest)} more to make, about {duration(took * len(rest) / self.workers)} on {self.workers} of these "
            f"cores ({took:.1f} s for the first)",
            highlight=False,
            soft_wrap=True,
        )
        with progress(console, len(missing)) as advance:
            advance(missing[0].name)
            for name in spread(make, rest, self.workers):
                advance(name)
        forget()

    def _first(self, make: Make, clip: Clip) -> float:
        """Seconds that a clip takes once the network is read."""
        make.prepare()
        begin = time.monotonic()
        make(clip)
        if self.workers > 1:
            forget()  # from here on workers hold it
        return time.monotonic() - begin

    def _facts(self, clip: Clip) -> Facts:
        found = self._files.facts(clip.name)
        assert found is not None, clip
        return found

    def _faces_are_known(self, facts: Sequence[Facts]) -> bool:
        """Whether the data's word on faces is taken: a detector finds none on drawn heads, and is better on real ones."""
        drawn = any(one.procedural for one in facts)
        return drawn or self.networks.invented or not self.networks.has("scrfd")

    def _pairing(self, facts: Sequence[Facts]) -> Pairing:
        if all(one.left_out for one in facts):
            raise UsageError(f"{self.run_folder}: none of the held-out clips could be read ({facts[0].left_out})")
        return pair(self._files.side("real"), self._files.side("fake"))

    def _about(self, run: Trained, generation: Generation) -> dict[str, Any]:
        """How the clips were made, as tables say it."""
        wanted = run.settings["trainer"]["max_steps"]
        trained = {} if run.step >= wanted else {"training": f"not ended, step {run.step} of {wanted}"}
        return {**asdict(generation), "folder": str(run.folder), "weights": "averaged", **trained}
