"""The page: fields for everything that `hallo3 animate` takes, progress, a button that stops, players side by side."""

from collections.abc import Iterator, Sequence
from itertools import groupby
from pathlib import Path
from typing import Any

import gradio

from hallo3_lightning.app.candidates import Candidate, Candidates
from hallo3_lightning.app.options import Option, typed
from hallo3_lightning.app.screening import Screening, Wanted, picture
from hallo3_lightning.app.turns import Turns
from hallo3_lightning.errors import UsageError

EVERY_RUN = "every run"
"""In place of a grid."""

CSS = """
.films { display: flex; flex-wrap: wrap; gap: 1rem; }
.films figure { flex: 1 1 10rem; max-width: 32rem; margin: 0; }
.films video { width: 100%; background: black; image-rendering: auto; }
.films figcaption { overflow-wrap: anywhere; text-align: center; }
.status p { white-space: pre-line; overflow-wrap: anywhere; }
.status progress { width: 100%; }
.status .error { color: #b91c1c; font-weight: 600; }
.portrait { max-height: 12rem; margin: auto; }
"""

PLAY = """() => document.querySelectorAll("#films video").forEach((video, place) => {
    video.muted = place > 0;
    video.currentTime = 0;
    video.play();
})"""
"""All from the beginning; all say the same, so one of them is heard."""


class Page:
    """What one server shows to all its users; each has films of its own, and one is made at a time.

    Args:
        options: fields beside those that the page has of its own.
        candidates: what can animate.
        films: the folder that films go to.
    """

    def __init__(self, options: Sequence[Option], candidates: Candidates, films: Path) -> None:
        self.options, self.candidates, self.films = options, candidates, films
        self._turns = Turns()

    def blocks(self) -> gradio.Blocks:
        with gradio.Blocks(title="hallo3 animate", analytics_enabled=False) as blocks:
            with gradio.Row():
                with gradio.Column(scale=2):
                    fields = [*self._inputs(blocks), *self._fields()]
                with gradio.Column(scale=3):
                    with gradio.Row():
                        start = gradio.Button("Animate", variant="primary", elem_id="start")
                        stop = gradio.Button("Stop", variant="stop", elem_id="stop")
                    status = gradio.HTML(elem_id="status", elem_classes="status")
                    films = gradio.HTML(elem_id="films")
                    play = gradio.Button("Play all from the beginning", elem_id="play")
            # no limit of gradio's: what waits in its queue cannot be stopped
            start.click(self._animate, fields, [status, films], concurrency_limit=None, show_progress="hidden")
            stop.click(self._stop, concurrency_limit=None)
            play.click(None, js=PLAY)
            blocks.unload(self._stop)
        return blocks

    def stop(self) -> None:
        """Everything that is being made."""
        self._turns.stop_all()

    def _inputs(self, blocks: gradio.Blocks) -> list[gradio.components.Component]:
        """Fields in the order in which `_animate` takes their values."""
        with gradio.Row():
            image = gradio.File(label="Portrait: any picture", elem_id="image", height=120)
            audio = gradio.File(label="Speech: any recording", elem_id="audio", height=120)
        sample = gradio.Textbox(
            label="or a sample of shards", info="SHARDS:SPLIT/KEY, in place of a picture", elem_id="sample"
        )
        seen = gradio.HTML()
        image.change(picture, image, seen, show_progress="hidden")
        prompt = gradio.Textbox(label="Prompt", info="what the video shows, in words", elem_id="prompt")
        with gradio.Row():
            grids = gradio.Dropdown(label="Grid", info="one run of each arm, side by side", elem_id="grid")
            chosen = gradio.Dropdown(label="Weights", info="who animates", multiselect=True, elem_id="weights")
        grids.input(self._of_grid, grids, chosen)
        blocks.load(self._there, None, [grids, chosen])
        return [image, sample, audio, prompt, grids, chosen]

    def _fields(self) -> list[gradio.components.Component]:
        fields = []
        for title, options in groupby(self.options, lambda option: option.group):
            with gradio.Accordion(title, open=False):
                fields += [_field(option) for option in options]
        return fields

    def _there(self) -> tuple[Any, Any]:
        """What there is to choose from when the page is opened."""
        grids = [EVERY_RUN, *self.candidates.grids()]
        return gradio.Dropdown(choices=grids, value=EVERY_RUN), _choices(self.candidates.all(), at_first=1)

    def _offered(self, grid: str | None) -> tuple[Candidate, ...]:
        """Runs of the grid's arms, or all there are; raises what the page shows where the grid has none."""
        file = self.candidates.grids().get(grid or "")
        try:
            return tuple(self.candidates.all() if file is None else self.candidates.arms(file))
        except UsageError as error:
            raise gradio.Error(str(error), print_exception=False) from error

    def _of_grid(self, grid: str | None) -> Any:
        """The runs of a grid to choose from, all of them chosen."""
        return _choices(self._offered(grid), at_first=1 if grid == EVERY_RUN else None)

    def _animate(
        self, request: gradio.Request, image: str | None, sample: str | None, audio: str | None, prompt: str, grid: str | None,
        chosen: list[str] | None, *values: Any,
    ) -> Iterator[tuple[str, str]]:  # fmt: skip
        who = [candidate for candidate in self._offered(grid) if str(candidate.weights) in (chosen or ())]
        names = (option.name for option in self.options)
        arguments = [f"--prompt={prompt}"] if prompt else []
        arguments += typed(self.options, dict(zip(names, values, strict=True)))
        wanted = Wanted((sample or "").strip() or image, audio, who, arguments)
        for shown in self._turns.shown(str(request.session_hash), Screening(self.films), wanted):
            yield shown.status, shown.films

    def _stop(self, request: gradio.Request) -> None:
        self._turns.stop(str(request.session_hash))


def _choices(candidates: Sequence[Candidate], at_first: int | None = None) -> Any:
    choices = [(candidate.label, str(candidate.weights)) for candidate in candidates]
    return gradio.Dropdown(choices=choices, value=[path for _, path in choices[:at_first]])


def _field(option: Option) -> gradio.components.Component:
    about: dict[str, Any] = {
        "label": option.flag,
        "info": option.help,
        "value": option.default,
        "elem_id": f"option-{option.name}",
    }
    if option.kind == "switch":
        return gradio.Checkbox(**about | {"value": False})
    if option.kind == "choice":
        return gradio.Dropdown(choices=list(option.choices), **about)
    return gradio.Textbox(lines=2 if option.kind == "lines" else 1, **about)
