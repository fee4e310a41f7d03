"""From a request of the page to what it shows: films of several weights, one after the other, side by side."""

import html
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import quote

from hallo3_lightning.app.candidates import Candidate
from hallo3_lightning.app.filming import Filming, film_of
from hallo3_lightning.errors import UsageError
from hallo3_lightning.film.speech import Speech

LOOK_EVERY_S = 0.25

FILE_ROUTE = "/gradio_api/file="
"""Where gradio serves the files that it may."""


@dataclass(frozen=True)
class Wanted:
    """What is animated, and by whom. image: a file, or SHARDS:SPLIT/KEY. arguments: what is typed beside --image, --audio,
    --weights and --out."""

    image: str | None
    audio: str | None
    candidates: Sequence[Candidate]
    arguments: Sequence[str] = ()

    def check(self) -> int:
        """Frames that a film will have. Raises UsageError for what is not there, or cannot be heard."""
        if self.image is None:
            raise UsageError("there is no portrait; choose a picture, or name a sample of shards")
        if self.audio is None:
            raise UsageError("there is no speech; choose a recording")
        if not self.candidates:
            raise UsageError("nobody is to animate it; choose weights, or a grid for one run of each arm")
        return Speech(Path(self.audio).name, Path(self.audio)).survey().frames

    def typed(self, candidate: Candidate) -> list[str]:
        return [f"--image={self.image}", f"--audio={self.audio}", f"--weights={candidate.weights}", *self.arguments]


@dataclass(frozen=True)
class Shown:
    """What the page shows at one moment, as HTML."""

    status: str
    films: str


@dataclass(eq=False)
class Screening:
    """The films of one request, in the making.

    folder: where films go. Between two looks at it the page is told how far it is.
    """

    folder: Path
    _now: Filming | None = field(default=None, init=False)
    is_stopped: bool = field(default=False, init=False)

    def stop(self) -> None:
        """For good: the film that is being made, and those that were to follow."""
        self.is_stopped = True
        if self._now is not None:
            self._now.stop()

    def shown(self, wanted: Wanted) -> Iterator[Shown]:
        """Make all films; what to show again and again, last what came of them."""
        try:
            total = wanted.check()
        except UsageError as error:
            yield Shown(_sentence("error", str(error)), "")
            return
        figures, told = "", ""
        for place, candidate in enumerate(wanted.candidates):
            if self.is_stopped:
                yield Shown(
                    told + _sentence("stopped", f"{candidate.label}: stopped before it began"), _side_by_side(figures)
                )
                return
            out = film_of(self.folder, candidate.label, wanted.typed(candidate))
            self._now = filming = Filming(wanted.typed(candidate), out)
            if self.is_stopped:  # meanwhile, by somebody who saw no film to stop
                filming.stop()
            queue = f"{candidate.label} ({place + 1} of {len(wanted.candidates)})"
            while filming.goes_on:
                yield Shown(
                    told + _progress(queue, filming.frames_so_far, total, filming.left_s(total)), _side_by_side(figures)
                )
                time.sleep(LOOK_EVERY_S)
            figures += _figure(candidate.label, filming)
            told += _ending(candidate.label, filming)
            yield Shown(told, _side_by_side(figures))
            if self.is_stopped:
                return


def picture(path: str | None) -> str:
    """The portrait as the browser shows it, where it can."""
    return "" if path is None else f'<img class="portrait" alt="" src="{_address(Path(path))}">'


def _progress(label: str, frames: int, total: int, left_s: float | None) -> str:
    told = f"{frames} of {total} frames" if frames else "reading the weights, then the first window"
    told += "" if left_s is None else f", about {left_s:.0f} s left"
    bar = f'<progress id="progress" value="{frames}" max="{total}"></progress>'
    return f"<p>{html.escape(label)}: {told} {bar}</p>"


def _ending(label: str, filming: Filming) -> str:
    if filming.was_stopped:
        where = (
            f"behind frame {filming.frames}; animate again goes on from there" if filming.frames else "before a frame"
        )
        return _sentence("stopped", f"{label}: stopped {where}")
    if not filming.is_finished:
        return _sentence("error", f"{label}: {filming.complaint}")
    return _sentence("finished", f"{label}: {filming.told}")


def _figure(label: str, filming: Filming) -> str:
    """A player of the film, also of the part that a stopped one has."""
    if not filming.out.is_file() or not (filming.is_finished or filming.was_stopped):
        return ""
    player = f'<video controls playsinline preload="auto" src="{_address(filming.out)}"></video>'
    return f"<figure>{player}<figcaption>{html.escape(label)}</figcaption></figure>"


def _side_by_side(figures: str) -> str:
    return f'<div class="films">{figures}</div>'


def _sentence(kind: str, text: str) -> str:
    return f'<p class="{kind}">{html.escape(text)}</p>'


def _address(path: Path) -> str:
    """Another one for another content, so that no browser shows what it has seen before."""
    version = path.stat().st_mtime_ns
    return html.escape(f"{FILE_ROUTE}{quote(str(path.resolve()))}?{version}")
