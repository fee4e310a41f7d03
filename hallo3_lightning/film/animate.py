"""Animating from Python: frames as they are made, and no file."""

from collections.abc import Iterator, Mapping, Set
from dataclasses import fields
from pathlib import Path
from typing import Any

from rich.console import Console
from torch import Tensor

from hallo3_lightning.animation.shortcuts import Shortcuts
from hallo3_lightning.errors import unknown
from hallo3_lightning.film.making import chunks, cut
from hallo3_lightning.film.preparing import Prepared, prepare
from hallo3_lightning.film.request import Changes, Request
from hallo3_lightning.film.speech import PIPE
from hallo3_lightning.film.unfinished import Kept

GIVEN = ("image", "audio", "weights", "changes", "shortcuts")
"""Of a request: what `animate` has a place for, or takes apart."""

OF_FILES = ("out", "format", "stream", "resume", "overwrite")
"""Of a request: what is about a film on a disk."""


def animate(image: str | Path, audio: str | Path, weights: str | Path, **settings: Any) -> Iterator[Tensor]:
    """Frames [f, 3, h, w] uint8 of a portrait that speaks, as soon as they are decoded, until the speech has ended.

    settings: options of `hallo3 animate`, as fields of `Request`, `Changes` and `Shortcuts` have them: face, prompt, steps,
    guidance_audio, seed, reuse, max_memory, ... They are the frames of the npz that the same command writes. Everything is
    read before the first is asked for; raises UsageError for what does not go together.

    >>> for frames in animate("portrait.png", "speech.wav", "runs/audio", face="4,2,28,30", prompt="A person talks."):
    ...     film.append(frames)
    """
    request = _request(str(image), str(audio), Path(weights), settings)
    request.check()
    return _frames(prepare(request, Console(stderr=True)))


def _request(image: str, audio: str, weights: Path, settings: Mapping[str, Any]) -> Request:
    """The settings where they belong. Raises UsageError for a name that is none."""
    whole, changes, shortcuts = ({one.name for one in fields(kind)} for kind in (Request, Changes, Shortcuts))
    own = whole - {*GIVEN, *OF_FILES}
    for name in settings:
        if name not in own | changes | shortcuts:
            raise unknown("setting", name, own | changes | shortcuts, "animate()")

    def of(names: Set[str]) -> dict[str, Any]:
        return {name: value for name, value in settings.items() if name in names}

    return Request(
        image,
        audio,
        weights,
        PIPE,
        stream=True,
        changes=Changes(**of(changes)),
        shortcuts=Shortcuts(**of(shortcuts)),
        **of(own),
    )


def _frames(prepared: Prepared) -> Iterator[Tensor]:
    coming = chunks(prepared, None, Kept())
    while True:
        with prepared.placement.cast():  # around ours alone: what happens between frames is the caller's
            chunk = next(coming, None)
        if chunk is None:
            return
        yield cut(chunk, prepared.portrait).cpu()
