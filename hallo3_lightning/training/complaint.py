"""What the command line's parser complains of, as one sentence that says what to do."""

import difflib
import re
from collections.abc import Sequence
from typing import NoReturn

from lightning.pytorch.cli import LightningArgumentParser

from hallo3_lightning.errors import UsageError

UNKNOWN = re.compile(
    r"unrecognized arguments: (?:--)?(?P<key>[\w.]+)|does not accept option '(?P<option>[\w.]+)'", re.I
)
WRONG = re.compile(r"Parser key \"(?P<key>[\w.]+)\": (?P<rest>.*)")
VALUE = re.compile(r"(?:Got value|Given value): (?P<value>.*)$|Unable to load config ['\"](?P<file>.*?)['\"]")
EXPECTED = re.compile(r"Expected a (<class '[\w.]+'>|typing\.Literal\[.*?\]|path)")
REQUIRED = re.compile(r"arguments are required: (?P<keys>.*)")

KINDS = {
    "int": "a whole number",
    "float": "a number",
    "bool": "true or false",
    "str": "a word",
    "NoneType": "null",
    "dict": "a mapping",
    "list": "a list",
    "tuple": "a list",
    "collections.abc.Sequence": "a list",
}


class Parser(LightningArgumentParser):
    """Says what is wrong in one sentence, which the caller prints; exits nowhere."""

    def error(self, message: str, ex: Exception | None = None) -> NoReturn:
        raise UsageError(sentence(message, self.known_keys()))

    def known_keys(self) -> list[str]:
        """Every dotted key that a config may set."""
        own = [action.dest for action in self._actions if action.dest != "help" and not action.dest.endswith(".help")]
        inner = getattr(self, "_subcommands_action", None)
        parsers = inner.choices.values() if inner is not None and inner.choices else []
        return list(dict.fromkeys([*own, *(key for parser in parsers for key in parser.known_keys())]))


def sentence(message: str, known: Sequence[str]) -> str:
    """The parser's message in our words; `known` are the dotted keys of all settings."""
    text = " ".join(message.split())
    if found := UNKNOWN.search(text):
        return _unknown(found["key"] or found["option"], known)
    if found := REQUIRED.search(text):
        keys = ", ".join(key.strip().split(".", 1)[-1] for key in found["keys"].split(","))
        return f"{keys} is not set; give it on the command line or in a file of --config"
    if found := WRONG.search(text):
        return _wrong(found["key"], found["rest"], known)
    return text


def _unknown(key: str, known: Sequence[str]) -> str:
    """Names the nearest key, also one that lacks only its group, and lists the rest of the group."""
    group = key.rpartition(".")[0]
    beside = [name for name in known if name.rpartition(".")[0] == group]
    candidates = beside if group and beside else [*known]
    near = difflib.get_close_matches(key, candidates, n=1, cutoff=0.6) or [
        name for name in known if name.rpartition(".")[2] == key.rpartition(".")[2]
    ]
    guess = f"did you mean '{near[0]}'? " if near else ""
    rest = sorted(beside if beside else {name.partition(".")[0] for name in known})
    return f"no setting '{key}'; {guess}there are: {', '.join(rest)}"


def _wrong(key: str, complaint: str, known: Sequence[str]) -> str:
    inner = [name for name in known if name.startswith(f"{key}.")]
    kinds = [_kind(kind) for kind in EXPECTED.findall(complaint)]
    if not kinds and inner:
        kinds = [f"a mapping of {', '.join(name.rpartition('.')[2] for name in inner)}"]
    value = VALUE.search(complaint)
    if not kinds or value is None:
        return f"{key}: {complaint}"
    return f"{key} is '{value['value'] or value['file']}'; expected {' or '.join(dict.fromkeys(kinds))}"


def _kind(expected: str) -> str:
    if expected.startswith("<class"):
        name = expected.removeprefix("<class '").removesuffix("'>")
        return KINDS.get(name, name)
    if expected == "path":
        return "a path"
    return expected.removeprefix("typing.Literal[").removesuffix("]")
