"""evaluate: folders of videos under a protocol, from the first decode to the table."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from datamodules.prepare.faces import FaceFinder, FoundFaces
from datamodules.processes import alone
from hallo3_lightning.backbones.published import NOT_A_SCORE
from hallo3_lightning.evaluation.counted import counted
from hallo3_lightning.evaluation.feature import feature
from hallo3_lightning.evaluation.folders import Pairing, Video
from hallo3_lightning.evaluation.frame_curves import frame_curves
from hallo3_lightning.evaluation.kept import FOLDER, Store
from hallo3_lightning.evaluation.measuring import Measure, Plan, estimate, measure_all, plan, undone
from hallo3_lightning.evaluation.networks import Networks
from hallo3_lightning.evaluation.recipe import Recipe
from hallo3_lightning.evaluation.report import write_report
from hallo3_lightning.evaluation.scoring import Scores, conditions_given, lacks_real, score
from hallo3_lightning.evaluation.shares import Share
from hallo3_lightning.evaluation.told import Told


@dataclass(frozen=True)
class FolderEvaluation:
    """One folder or two under a protocol; the same one goes on from what it has done."""

    recipe: Recipe
    pairing: Pairing
    networks: Networks
    out: Path
    workers: int = 1
    share: Share = field(default_factory=Share)

    def run(self, console: Console, told: Told = Told()) -> Scores | None:  # noqa: B008
        """Make what is missing, score everything, write the report and print its table.

        told: what is known of the clips beside their videos. None in all but the first of processes that share the work.
        """
        with alone(self.share.place(self.out), "evaluating into"):
            finders = {side: self.networks.faces_of(folder) for side, folder in self.pairing.folders.items()}
            made = plan(self._features, self.networks, finders, self.recipe.framing)
            used = self._networks(made, finders)
            self.networks.check(used)
            given = conditions_given(self.pairing)  # which may be wrong, and measuring takes hours
            self._measure(made, finders, console)
            if not self.share.is_first:
                return None
            self.share.wait(lambda: len(undone(self.pairing, self._store, made)), "clips' features")
            self._store.sweep()
            scores = score(self.recipe, self.pairing, self._store, made, told, given)
            curves = frame_curves(self.pairing, self._store, made)
            table = write_report(self.out, self.recipe, self.pairing, self.networks, used, finders, scores, curves)
        console.print(table, markup=False, highlight=False, soft_wrap=True)
        console.print(f"written to {self.out}", markup=False, highlight=False, soft_wrap=True)
        return scores

    @property
    def _store(self) -> Store:
        return Store(self.out / FOLDER)

    @property
    def _features(self) -> Sequence[str]:
        scored = [found for found in self.recipe.build().values() if not lacks_real(found, self.pairing)]
        return sorted({name for found in scored for name in found.features})

    def _networks(self, made: Plan, finders: Mapping[str, FaceFinder | None]) -> set[str]:
        """Short names of all that are run."""
        features = [feature(name) for name in made.fingerprints["fake"]]
        found = {network for one in features for network in one.runs(self.networks)}
        looked = any(isinstance(finder, FoundFaces) for finder in finders.values())
        return found | ({"scrfd"} if looked and any(one.needs_faces for one in features) else set())

    def _measure(self, made: Plan, finders: Mapping[str, FaceFinder | None], console: Console) -> None:
        mine = replace(self.pairing, videos=tuple(self.share.of(self.pairing.videos)))
        videos = undone(mine, self._store, made)
        measure = Measure(self.recipe.framing, self.networks, finders, self._store, made.fingerprints)
        self._announce(made, len(mine.videos), videos, finders, console)
        with progress(console, len(videos)) as advance:
            for name in measure_all(videos, measure, self.workers):
                advance(name)

    def _announce(
        self,
        made: Plan,
        total: int,
        videos: Sequence[Video],
        finders: Mapping[str, FaceFinder | None],
        console: Console,
    ) -> None:
        """What there is to do, and about how long it takes."""
        if self.networks.invented:
            console.print(f"{NOT_A_SCORE}: all weights are invented (seed {self.networks.seed})", style="red")
        seconds = estimate(videos, list(made.fingerprints["fake"]), self.recipe.framing, finders) / self.workers
        rest = f"about {duration(seconds)} on {self.workers} of these cores" if videos else "nothing to decode"
        console.print(
            f"protocol {self.recipe.name}: {counted(total, 'clip')} to score, {total - len(videos)} done before; {rest}",
            highlight=False,
            soft_wrap=True,
        )


@contextmanager
def progress(console: Console, total: int) -> Iterator[Callable[[str], None]]:
    """A bar over clips, and what moves it on by one, whose name is given."""
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=console, transient=True) as progress:
        task = progress.add_task("clips", total=total)
        yield lambda name: progress.update(task, advance=1, description=name)


def duration(seconds: float) -> str:
    """In the unit that one would say it in."""
    for unit, size in (("h", 3600), ("min", 60)):
        if seconds >= size:
            return f"{seconds / size:.1f} {unit}"
    return f"{seconds:.0f} s"
