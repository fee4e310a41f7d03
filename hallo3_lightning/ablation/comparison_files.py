"""A comparison in each format that it can be written in: Markdown, CSV, LaTeX and JSON."""

import csv
import io
import json
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from hallo3_lightning.ablation.comparison_page import FACTS, Cell, Line, caption, heading, lines, metrics, sentences
from hallo3_lightning.errors import unknown

COLUMNS = (
    "grid", "protocol", "kind", "name", "metric", "unit", "decides", "mean", "std", "low", "high", "seeds", "clips",
    "coverage", "difference", "difference_low", "difference_high", "p", "corrected_p", "mark", "source", "stamp",
)  # fmt: skip


def markdown(comparison: Mapping[str, Any], heading_level: int = 1) -> str:
    """The table and the sentences for a lab notebook."""
    top = "#" * heading_level
    parts = [f"{top} {in_markdown(comparison['question'] or comparison['grid'])}", ""]
    parts += [line for stamp in comparison["stamps"] for line in (f"**{in_markdown(stamp)}**", "")]
    parts += [*markdown_table(comparison), "", in_markdown(caption(comparison)), ""]
    parts += [f"- {in_markdown(sentence)}" for sentence in sentences(comparison)]
    parts += [f"- {in_markdown(f'missing: {name}: {why}')}" for name, why in comparison["missing"].items()]
    return "\n".join([*parts, ""])


def markdown_table(comparison: Mapping[str, Any]) -> list[str]:
    """Its lines: a row an arm, differences under the scores."""
    known = metrics(comparison)
    headings = ["arm", *(f"{heading(name, told)} {told['unit']}".strip() for name, told in known.items()), *FACTS]
    rows = [
        [line.label, *(_of_cell(line.cells.get(name, Cell())) for name in known), *line.facts]
        for line in lines(comparison)
    ]
    aligned = "|---" + "|---:" * (len(headings) - 1) + "|"
    first, *rest = ("| " + " | ".join(_in_row(cell) for cell in row) + " |" for row in [headings, *rows])
    return [first, aligned, *rest]


def _of_cell(cell: Cell) -> str:
    score = f"{cell.score} {cell.mark}".strip()
    gap = " ".join(part for part in (cell.gap, cell.interval) if part)
    return "\n".join(part for part in (score, gap, cell.p, cell.coverage) if part)


def _in_row(text: str) -> str:
    return "<br>".join(in_markdown(line).replace("|", r"\|") for line in text.splitlines())


MARKUP = re.compile(r"[\\`*~]|(?<![^\W_])_|_(?![^\W_])|\](?=[(\[:])|^(?:[#>]|[=+-](?=[ =-]|$))")
"""What Markdown reads as more than a sign: an underscore at the edge of a word, a bracket that makes a link, the start of a
line."""


def in_markdown(text: str) -> str:
    """The text as Markdown shows it, on one line."""
    plain = re.sub(r"&(?=#?\w+;)", "&amp;", " ".join(text.split()))
    return MARKUP.sub(r"\\\g<0>", plain).replace("<", "&lt;")


def comma_separated(comparison: Mapping[str, Any]) -> str:
    """One row a metric and arm, control or claim; empty cells where there is no number."""
    stream = io.StringIO()
    writer = csv.DictWriter(stream, COLUMNS, lineterminator="\n")
    writer.writeheader()
    protocol = comparison["protocol"]
    same = {
        "grid": comparison["grid"],
        "protocol": f"{protocol.get('id')} {protocol['hash']}",
        "stamp": "; ".join(comparison["stamps"]),
    }
    for row in _records(comparison):
        writer.writerow({**same, "decides": row["metric"] in comparison["decide_by"], **row})
    return stream.getvalue()


def _records(comparison: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    groups = [("arm", arm["name"], arm["metrics"]) for arm in comparison["arms"]]
    groups += [("control", name, told) for name, told in comparison["controls"].items()]
    for kind, name, told in groups:
        for metric, numbers in told.items():
            gap = numbers.get("difference") or {}
            yield {
                "kind": kind,
                "name": name,
                "metric": metric,
                **{key: numbers[key] for key in ("unit", "mean", "std", "low", "high", "clips", "coverage")},
                "seeds": numbers["n"],
                "mark": numbers.get("mark", ""),
                **({"difference": gap["mean"], "difference_low": gap["low"], "difference_high": gap["high"]} if gap else {}),
                **{key: gap[key] for key in ("p", "corrected_p") if gap},
            }  # fmt: skip
    for arm, claims in comparison["claimed"].items():
        for metric, claim in claims.items():
            yield {"kind": "claimed", "name": arm, "metric": metric, "mean": claim["value"], "source": claim["source"]}


def latex(comparison: Mapping[str, Any]) -> str:
    """A floating table for a paper (packages booktabs and graphicx): the best in bold, differences under the scores."""
    known = metrics(comparison)
    headings = [f"{in_latex(heading(name, told))}" for name, told in known.items()]
    body = [row for kind in ("arm", "control", "ceiling", "claimed") for row in _latex_part(comparison, kind, known)]
    label = re.sub(r"[^A-Za-z0-9]+", "-", comparison["grid"])
    return "\n".join(
        [
            r"\begin{table}",
            r"\centering",
            rf"\caption{{{in_latex(comparison['question'] or comparison['grid'])} {in_latex(_sentence_case(comparison))}}}",
            rf"\label{{tab:{label}}}",
            r"\resizebox{\ifdim\width>\linewidth\linewidth\else\width\fi}{!}{%",
            rf"\begin{{tabular}}{{l{'r' * len(known)}}}",
            r"\toprule",
            " & ".join(["arm", *headings]) + r" \\",
            *body,
            r"\bottomrule",
            r"\end{tabular}}",
            r"\end{table}",
            "",
        ]
    )


def _sentence_case(comparison: Mapping[str, Any]) -> str:
    told = caption(comparison)
    return told[:1].upper() + told[1:] + "."


def _latex_part(comparison: Mapping[str, Any], kind: str, known: Sequence[str] | Mapping[str, Any]) -> list[str]:
    """The rows of one kind under a rule; nothing where there are none."""
    rows: list[str] = []
    for line in lines(comparison):
        if line.kind == kind:
            rows.append(
                _latex_row(in_latex(line.label), [_latex_score(line.cells.get(name, Cell())) for name in known])
            )
            rows += _latex_gaps(line, list(known))
    return [r"\midrule", *rows] if rows else []


def _latex_gaps(line: Line, known: Sequence[str]) -> list[str]:
    cells = [line.cells.get(name, Cell()) for name in known]
    if not any(cell.gap or cell.coverage for cell in cells):
        return []
    told = (" ".join(part for part in (c.gap, c.interval, c.p, c.coverage) if part) for c in cells)
    return [_latex_row("", [rf"{{\scriptsize {in_latex(text)}}}" if text else "" for text in told])]


def _latex_score(cell: Cell) -> str:
    score = in_latex(cell.score)
    return {"●": rf"\textbf{{{score}}}", "○": rf"{score}\,$^\circ$"}.get(cell.mark, score)


def _latex_row(label: str, cells: Sequence[str]) -> str:
    return " & ".join([label, *cells]) + r" \\"


SPECIAL = {
    **{sign: rf"\{sign}" for sign in "&%$#_{}"},
    "\\": r"\textbackslash{}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "<": "$<$",
    ">": "$>$",
    "|": "$|$",
    "↑": r"$\uparrow$",
    "↓": r"$\downarrow$",
    "→": r"$\to$",
    "±": r"$\pm$",
    "–": "--",
    "●": "bold",
    "○": r"$^\circ$",
}
"""What LaTeX reads as more than a letter, and signs that its fonts lack."""


def in_latex(text: str) -> str:
    """The text as LaTeX prints it, on one line; a minus before a digit as one."""
    escaped = "".join(SPECIAL.get(sign, sign) for sign in " ".join(text.split()))
    return re.sub(r"(?<![\w.])([+-])(?=\d)", r"$\1$", escaped)


def as_json(comparison: Mapping[str, Any]) -> str:
    """Everything; finite numbers alone."""
    return json.dumps(comparison, indent=1, allow_nan=False, ensure_ascii=False) + "\n"


WRITERS: Mapping[str, tuple[str, Callable[[Mapping[str, Any]], str]]] = {
    "md": ("md", markdown),
    "csv": ("csv", comma_separated),
    "latex": ("tex", latex),
    "json": ("json", as_json),
}
"""Format -> ending of its file, and what writes it."""


def wanted_formats(given: str) -> list[str]:
    """The formats in a list with commas. Raises UsageError for one that there is not."""
    named = [name.strip() for name in given.split(",") if name.strip()]
    for name in named or [given]:
        if name not in WRITERS:
            raise unknown("format", name, WRITERS, "--format")
    return [*dict.fromkeys(named)]
