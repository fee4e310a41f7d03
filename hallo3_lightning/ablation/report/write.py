"""`hallo3 report`: gather, write one file, say its size."""

from pathlib import Path

from hallo3_lightning.ablation.grid import read
from hallo3_lightning.ablation.places import ROOT, check_folder
from hallo3_lightning.ablation.report.contents import contents
from hallo3_lightning.ablation.report.page import html
from hallo3_lightning.ablation.runs import write_atomically
from hallo3_lightning.ablation.status import page_console
from hallo3_lightning.errors import UsageError

LARGE = 20e6
"""Bytes from which a page is slow to send and to open on a phone."""

CLIPS = 4
"""Clips of a page unless it is said how many."""


def report(grid: Path, *, root: Path = ROOT, out: Path | None = None, clips: int = CLIPS) -> int:
    """Write the grid's page to `out`, by default root/<grid>/report.html; 1 while runs are missing."""
    page = read(grid)
    file = out or page.folder(root) / "report.html"
    _check(file, clips)
    told = contents(page, root, clips)
    text = html(told)
    write_atomically(file, text)
    size = len(text.encode())
    console = page_console()
    for line in told.missing:
        console.print(f"missing: {line}", soft_wrap=True, highlight=False, markup=False)
    console.print(
        f"written to {file} ({size / 1e6:.1f} MB, {len(told.stage.clips)} clips)",
        soft_wrap=True,
        highlight=False,
        markup=False,
    )
    if size > LARGE:
        hint = f"--clips {max(1, int(clips * LARGE / size))} makes it smaller"
        console.print(f"that is large for a phone; {hint}", soft_wrap=True, highlight=False, markup=False)
    return int(bool(told.comparison["missing"]))


def _check(file: Path, clips: int) -> None:
    if file.suffix.lower() not in (".html", ".htm") or file.is_dir():
        raise UsageError(f"--out is {file}; expected the name of a page, for example {file.with_suffix('.html')}")
    check_folder("--out", file.parent)
    if clips < 0:
        raise UsageError(f"--clips is {clips}; expected 0 or more")
