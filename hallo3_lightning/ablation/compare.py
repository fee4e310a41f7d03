"""One table of a grid's results: arms as rows, mean and spread over seeds, the control and the ceiling below them."""

import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.markup import escape
from rich.table import Table

from hallo3_lightning.ablation.grid import Grid, read
from hallo3_lightning.ablation.places import ROOT, check_folder, command
from hallo3_lightning.ablation.results import CEILING, Result, check_comparable, collect, compared
from hallo3_lightning.ablation.runs import write_atomically
from hallo3_lightning.ablation.status import duration, page_console

FACTS = ("seeds", "clips", "trainable parameters", "steps", "time")

CLEAR = 2.0
"""Standard errors under which a difference is taken for noise."""

UNFAIR = 0.10
"""Arms whose trainable parameters differ by more than this share are not a fair comparison."""


def compare(grid: Path, *, root: Path = ROOT, out: Path | None = None) -> int:
    """Print the table and write comparison.json, .md, .png and TensorBoard's hparams; 1 while runs are missing.

    out: folder for the files; default root/<grid>.
    """
    if out is not None:
        check_folder("--out", out)
    ways = read(grid)
    results, missing = collect(ways, root)
    console = page_console()
    if results:
        check_comparable(results)
        comparison = compared(ways, results, missing)
        unreadable = _write(ways, results, comparison, root, out or ways.folder(root))
        page = table(comparison)
        unbounded = console.options.update(max_width=10_000)
        narrow = console.measure(page, options=unbounded).minimum > console.width
        console.print(table(comparison, facts=False) if narrow else page)
        for line in [*(fact_lines(comparison) if narrow else []), *sentences(comparison)]:
            console.print(line, soft_wrap=True, highlight=False, markup=False)
        for file in unreadable:
            console.print(f"[yellow]not in the picture:[/] {file} is damaged", soft_wrap=True)
        console.print(f"written to {out or ways.folder(root)}", soft_wrap=True)
    for name, why in missing.items():
        console.print(f"[yellow]missing:[/] {name}: {escape(why)}", soft_wrap=True)
    if missing:
        are = f"{_counted(len(ways.runs()), 'run')} {'is' if len(missing) == 1 else 'are'} missing"
        again = command("ablate", grid, root)
        console.print(
            f"{len(missing)} of {are}; {again} goes on with them", soft_wrap=True, highlight=False, markup=False
        )
    return int(bool(missing))


def sentences(comparison: Mapping[str, Any]) -> list[str]:
    """What the numbers say, in words: one line an arm, and a warning where the comparison is not fair."""
    lines = []
    for arm in comparison["arms"]:
        for metric, gain in arm["above_control"].items():
            lines += [_verdict(arm["name"], metric, gain), *_disagreement(arm, metric)]
    return lines + _fairness(comparison["arms"])


def _verdict(arm: str, metric: str, gain: Mapping[str, Any]) -> str:
    control = f"{_words(gain['control'])} control in {_words(metric)}"
    numbers = f"{gain['difference']:+.3f} ± {gain['std_error']:.3f} over {gain['clips']} clips"
    if not _differs(gain):
        return f"{arm} shows no difference to its {control} ({numbers})."
    verb = "beats" if _beats(gain) else "falls below"
    size = "no spread" if gain["std_errors"] is None else f"{abs(gain['std_errors']):.1f} standard errors"
    return f"{arm} {verb} its {control} by {size} ({numbers})."


def _disagreement(arm: Mapping[str, Any], metric: str) -> list[str]:
    """A mean over seeds of which some have learned and some have not is the score of neither."""
    by_seed = {seed: gains[metric] for seed, gains in arm["above_control_by_seed"].items() if metric in gains}
    level = [f"{arm['name']}-seed{seed}" for seed, gain in by_seed.items() if not _beats(gain)]
    if not level or len(level) == len(by_seed):
        return []
    does = "does" if len(level) == 1 else "do"
    others = _counted(len(by_seed) - len(level), "other seed")
    return [
        f"Careful: {', '.join(level)} {does} not beat the control in {_words(metric)}, {others} of {arm['name']} did."
    ]


def _differs(gain: Mapping[str, Any]) -> bool:
    errors = gain["std_errors"]
    return gain["difference"] != 0 if errors is None else abs(errors) >= CLEAR


def _beats(gain: Mapping[str, Any]) -> bool:
    return _differs(gain) and gain["difference"] > 0


def _fairness(arms: Sequence[Mapping[str, Any]]) -> list[str]:
    known = {arm["name"]: arm["trainable_parameters"] for arm in arms if arm["trainable_parameters"]}
    if not known or max(known.values()) <= (1 + UNFAIR) * min(known.values()):
        return []
    few, many = min(known, key=known.__getitem__), max(known, key=known.__getitem__)
    return [
        f"Careful: {many} trains {known[many]:,} parameters and {few} {known[few]:,} "
        f"({known[many] / known[few] - 1:.0%} more): a difference between them may be one of size."
    ]


def table(comparison: Mapping[str, Any], facts: bool = True) -> Table:
    """Arms, then controls; metrics as mean ± spread over seeds, facts of each arm at the right.

    Without facts every column is as narrow as its longest word: six metrics in 80 characters.
    """
    page = Table(
        title=comparison["question"] or comparison["grid"],
        caption=_caption(comparison),
        box=SIMPLE_HEAD,
        padding=(0, 1, 0, 0),
    )
    headings = _headings(comparison)[: None if facts else -len(FACTS)]
    rows = [row[: len(headings)] for row in _rows(comparison)]
    for heading, cells in zip(headings, zip(*rows, strict=True), strict=True):
        widest = max(len(word) for text in (heading, *cells) for word in text.split())
        exact = None if facts else widest
        page.add_column(heading, justify="left" if heading == "arm" else "right", min_width=widest, width=exact)
    for i, row in enumerate(rows):
        page.add_row(*map(escape, row), end_section=i + 1 == len(comparison["arms"]))
    return page


def fact_lines(comparison: Mapping[str, Any]) -> list[str]:
    """The facts of each arm in words, for a terminal too narrow for their columns."""
    rows = list(_rows(comparison))[: len(comparison["arms"])]
    return [
        f"{row[0]}: "
        + ", ".join(
            _counted(v, k.removesuffix("s")) if k.endswith("s") else f"{v} {k}"
            for k, v in zip(FACTS, row[-len(FACTS) :], strict=True)
        )
        for row in rows
    ]


def markdown(comparison: Mapping[str, Any]) -> str:
    """The same table and sentences for a lab notebook."""
    headings = _headings(comparison)
    lines = [
        f"# {comparison['question'] or comparison['grid']}",
        "",
        "| " + " | ".join(h.replace("\n", " ") for h in headings) + " |",
    ]
    lines.append("|---" + "|---:" * (len(headings) - 1) + "|")
    lines += ["| " + " | ".join(row) + " |" for row in _rows(comparison)]
    lines += ["", _caption(comparison), ""]
    lines += [f"- {sentence}" for sentence in sentences(comparison)]
    lines += [f"- missing: {name}: {why}" for name, why in comparison["missing"].items()]
    return "\n".join([*lines, "", "![truth above, each arm below](comparison.png)", ""])


def _caption(comparison: Mapping[str, Any]) -> str:
    protocol = comparison["protocol"]
    notes = ["mean ± deviation over seeds", f"protocol {protocol.get('id')} {protocol['hash']}"]
    notes += ["↑ higher is better, ↓ lower, →0 nearer to zero", *["* baseline"] * bool(comparison["baseline"])]
    return "; ".join(notes)


def _metrics(comparison: Mapping[str, Any]) -> dict[str, Mapping[str, Any]]:
    return {name: spread for arm in comparison["arms"] for name, spread in arm["metrics"].items()}


def _headings(comparison: Mapping[str, Any]) -> list[str]:
    better = {True: "↑", False: "↓", None: "→0"}
    scores = [f"{_words(n)} {better[m['higher_is_better']]}\n{m['unit']}" for n, m in _metrics(comparison).items()]
    return ["arm", *scores, *FACTS]


def _rows(comparison: Mapping[str, Any]) -> Iterable[list[str]]:
    metrics = _metrics(comparison)
    for arm in comparison["arms"]:
        scores = [_spread(arm["metrics"].get(metric)) for metric in metrics]
        facts = [_count(arm["trainable_parameters"]), _count(arm["steps"])]
        spent = "" if arm["seconds"] is None else duration(arm["seconds"])
        yield [
            arm["name"] + (" *" if arm["name"] == comparison["baseline"] else ""),
            *scores,
            str(len(arm["seeds"])),
            str(arm["clips"]),
            *facts,
            spent,
        ]
    for control in sorted(comparison["controls"], key=lambda name: name == CEILING):
        label = f"ceiling: {control}" if control == CEILING else f"control: {_words(control)}"
        yield [label, *(_spread(comparison["controls"][control].get(metric)) for metric in metrics), *[""] * 5]


def _spread(spread: Mapping[str, Any] | None) -> str:
    if spread is None:
        return "–"
    digits = 3 if abs(spread["mean"]) < 10 else 2
    return f"{spread['mean']:.{digits}f}" + ("" if spread["std"] is None else f" ±{spread['std']:.{digits}f}")


def _count(number: int | None) -> str:
    return "" if number is None else f"{number:,}"


def _counted(number: int | str, noun: str) -> str:
    return f"{number} {noun}" + "s" * (str(number) != "1")


def _words(name: str) -> str:
    return name.replace("_", " ")


def _write(grid: Grid, results: Sequence[Result], comparison: Mapping[str, Any], root: Path, out: Path) -> list[Path]:
    """All files; those of the clips that could not be read for the picture."""
    from hallo3_lightning.ablation.board import write_board
    from hallo3_lightning.ablation.picture import draw

    write_atomically(out / "comparison.json", json.dumps(comparison, indent=1, allow_nan=False))
    write_atomically(out / "comparison.md", markdown(comparison))
    unreadable = draw(grid, results, out / "comparison.png")
    write_board(grid, results, grid.folder(root) / "tensorboard")
    return unreadable
