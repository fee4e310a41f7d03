"""Dated entries of experiments/LOG.md: what a grid asked, what came out, and of which runs."""

import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from hallo3_lightning.ablation.comparison_files import in_markdown, markdown_table
from hallo3_lightning.ablation.comparison_page import caption, sentences
from hallo3_lightning.ablation.page import home
from hallo3_lightning.ablation.runs import write_atomically

NAME = "LOG.md"
START = "# Log of experiments\n\nNewest first.\n"


def log_of(grid: Path) -> Path:
    """The log beside the folder grids/ that the grid lies in."""
    return home(grid) / NAME


def add_entry(log: Path, comparison: Mapping[str, Any], command: str) -> bool:
    """Put the comparison above the newest entry; False where the same runs with the same numbers stand there already."""
    text = log.read_text(encoding="utf-8") if log.is_file() else START
    body = _body(comparison, command)
    if body in text:
        return False
    title = f"## {time.strftime('%Y-%m-%d')} {in_markdown(comparison['question'] or comparison['grid'])}"
    before, entries, after = text.partition("\n## ")
    write_atomically(log, f"{before.rstrip()}\n\n{title}\n\n{body}\n{entries and f'{entries[1:]}{after}'}")
    return True


def _body(comparison: Mapping[str, Any], command: str) -> str:
    protocol = comparison["protocol"]
    folders = [f"`{run['folder']}`" for run in comparison["runs"].values()]
    parts = [
        *(f"**{in_markdown(stamp)}**\n" for stamp in comparison["stamps"]),
        f"`{command}`, protocol {protocol.get('id')} {protocol['hash']}; runs {', '.join(folders)}.",
        "",
        *(f"- {in_markdown(sentence)}" for sentence in sentences(comparison)),
        *(f"- {in_markdown(f'missing: {name}')}" for name in comparison["missing"]),
        "",
        *markdown_table(comparison),
        "",
        in_markdown(caption(comparison)),
        "",
    ]
    return "\n".join(parts)
