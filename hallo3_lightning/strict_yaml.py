"""Strict YAML: a file that means one thing, and nothing but text, numbers, true, false, null, lists and mappings."""

import json
from collections import Counter
from pathlib import Path
from typing import Any

import yaml

from hallo3_lightning.errors import UsageError

MOST_VALUES = 100_000
"""In one file once its aliases are written out: a few lines of them can stand for billions."""

PLAIN = "text, numbers, true, false, null, or lists and mappings of them; quote a date"
"""What `is_plain` takes, as errors say it."""


def read_strictly(path: Path) -> Any:
    """What a file says. Raises UsageError for one that is not YAML in UTF-8, and where a key is given twice, of which
    YAML readers silently keep the last."""
    try:
        return yaml.load(path.read_text(encoding="utf-8"), _Strict)
    except UnicodeDecodeError as error:
        raise UsageError(f"{path} is not text in UTF-8 (byte {error.start}); save it as UTF-8") from None
    except RecursionError:
        raise UsageError(f"{path} is nested too deeply to be read; write it with fewer levels") from None
    except (yaml.YAMLError, ValueError) as error:  # ValueError: a date such as 2024-13-01
        raise UsageError(f"{path} is not YAML: {' '.join(str(error).split())}") from None


def is_plain(value: Any) -> bool:
    """Whether JSON in UTF-8 gives a value back as it was: no dates, no keys but text, no NaN, no half of a character."""
    try:
        return bool(json.loads(json.dumps(value, ensure_ascii=False).encode()) == value)
    except (TypeError, ValueError):
        return False


class _Strict(yaml.SafeLoader):
    def get_single_node(self) -> yaml.Node | None:
        node = super().get_single_node()
        if node is not None:
            _num_values(node, {})
        return node

    def compose_node(self, parent: yaml.Node | None, index: Any) -> yaml.Node | None:
        event = self.peek_event()
        if getattr(event, "tag", None) not in (None, "!"):  # an alias has none
            raise yaml.MarkedYAMLError(None, None, f"tag '{event.tag}' is given; expected {PLAIN}", event.start_mark)
        return super().compose_node(parent, index)

    def compose_mapping_node(self, anchor: str | None) -> yaml.MappingNode:
        node = super().compose_mapping_node(anchor)
        keys = Counter((key.tag, key.value) for key, _ in node.value if isinstance(key, yaml.ScalarNode))
        for key, _ in reversed(node.value):
            if isinstance(key, yaml.ScalarNode) and keys[key.tag, key.value] > 1:
                raise yaml.MarkedYAMLError(None, None, f"key '{key.value}' is given twice", key.start_mark)
        return node


def _num_values(node: yaml.Node, known: dict[yaml.Node, int | None]) -> int:
    """Of a node with all below it, however often an alias repeats them; `known` holds None for those being counted."""
    if node not in known:
        known[node] = None
        known[node] = 1 + sum(_num_values(part, known) for part in _parts(node))
    count = known[node]
    if count is None:
        raise yaml.MarkedYAMLError(None, None, "a value contains itself", node.start_mark)
    if count > MOST_VALUES:
        raise yaml.MarkedYAMLError(None, None, f"more than {MOST_VALUES} values", node.start_mark)
    return count


def _parts(node: yaml.Node) -> list[yaml.Node]:
    if isinstance(node, yaml.MappingNode):
        return [part for pair in node.value for part in pair]
    return node.value if isinstance(node, yaml.SequenceNode) else []
