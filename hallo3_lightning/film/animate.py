"""Animating from Python: frames as they are made, and no file."""

from argparse import ArgumentError
from collections.abc import Iterator, Mapping
from dataclasses import fields
from inspect import formatannotation
from pathlib import Path
from types import UnionType
from typing import Any, get_args

from jsonargparse import ArgumentParser
from rich.console import Console
from torch import Tensor

from hallo3_lightning.animation.shortcuts import Shortcuts
from hallo3_lightning.errors import UsageError, unknown
from hallo3_lightning.film.beforehand import look_beforehand
from hallo3_lightning.film.making import chunks, cut
from hallo3_lightning.film.preparing import Prepared, prepare
from hallo3_lightning.film.request import Changes, Request
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
    console = Console(stderr=True)
    return _frames(prepare(look_beforehand(request, console), console))


def _request(image: str, audio: str, weights: Path, settings: Mapping[str, Any]) -> Request:
    """The settings where they belong. Raises UsageError for a name that is none, and for a value of another kind."""
    kinds = {one.name: one.type for kind in (Request, Changes, Shortcuts) for one in fields(kind)}
    known = kinds.keys() - {*GIVEN, *OF_FILES}
    for name in settings:
        if name not in known:
            raise unknown("setting", name, known, "animate()")
    read = {name: _read(name, value, kinds[name]) for name, value in settings.items()}

    def of(kind: type) -> dict[str, Any]:
        return {one.name: read[one.name] for one in fields(kind) if one.name in read}

    whole = {"changes": Changes(**of(Changes)), "shortcuts": Shortcuts(**of(Shortcuts)), **of(Request)}
    return Request(image, audio, weights, out=None, **whole)


def _read(name: str, value: Any, kind: Any) -> Any:
    """A setting as the command line would read it. Raises UsageError where it is of another kind."""
    if isinstance(value, str) and (kind is str or isinstance(kind, UnionType) and str in get_args(kind)):
        return value  # a prompt may be the word null
    parser = ArgumentParser(exit_on_error=False)
    parser.add_argument("--setting", type=kind)
    try:
        return parser.parse_object({"setting": value}).setting
    except ArgumentError as error:
        raise UsageError(f"animate() was given {name}={value!r}; expected {formatannotation(kind)}") from error


def _frames(prepared: Prepared) -> Iterator[Tensor]:
    coming = chunks(prepared, None, Kept())
    while True:
        with prepared.placement.cast():  # around ours alone: what happens between frames is the caller's
            chunk = next(coming, None)
        if chunk is None:
            return
        yield cut(chunk, prepared.known.portrait).cpu()
