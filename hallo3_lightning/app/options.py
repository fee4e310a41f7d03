"""The options of `hallo3 animate` as fields of a page, read from its own parser: what is new there is new here."""

import argparse
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

Kind = Literal["switch", "choice", "lines", "text"]
"""Numbers are text, too: gradio's field for them shows 0 where nothing is given, and 0 would be another film."""

ASKED_ABOVE = ("image", "audio", "prompt", "weights")
"""Options that the page has fields of its own for."""

THE_PAGES = ("out", "format", "stream", "pcm", "resume")
"""Options that the page decides: every film is an mp4 of its own that goes on where it was stopped."""


@dataclass(frozen=True)
class Option:
    """One option that is a field. default: what the field shows, None for nothing."""

    name: str
    flag: str
    group: str
    kind: Kind
    help: str
    default: str | None = None
    choices: tuple[str, ...] = ()

    def typed(self, value: Any) -> list[str]:
        """What one types for a value of the field; nothing where it is left alone."""
        if self.kind == "switch":
            return [self.flag] if value else []
        if value is None or str(value) == self.default:
            return []
        lines = str(value).splitlines() if self.kind == "lines" else [str(value)]
        return [f"{self.flag}={line}" for line in lines if line.strip()]


def options_of(parser: argparse.ArgumentParser) -> tuple[Option, ...]:
    """All options that the page has no fields of its own for, in the order of `--help`."""
    aside = {*ASKED_ABOVE, *THE_PAGES}
    return tuple(
        _option(action, group.title or "")
        for group in parser._action_groups  # argparse tells what it was given nowhere else
        for action in group._group_actions
        if action.dest not in aside
    )


def typed(options: Sequence[Option], values: Mapping[str, Any]) -> list[str]:
    """What one types for the values of all fields."""
    return [part for option in options for part in option.typed(values[option.name])]


def _option(action: argparse.Action, group: str) -> Option:
    kind = _kind(action)
    shown = (action.help or "") % {"default": action.default}
    default = None if kind == "switch" or action.default is None else str(action.default)
    choices = tuple(map(str, action.choices or ()))
    return Option(action.dest, action.option_strings[0], group, kind, shown, default, choices)


def _kind(action: argparse.Action) -> Kind:
    if action.nargs == 0:
        return "switch"
    if action.choices:
        return "choice"
    return "lines" if isinstance(action, argparse._AppendAction) else "text"
