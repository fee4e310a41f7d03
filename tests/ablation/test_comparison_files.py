"""A comparison as Markdown, CSV, LaTeX and JSON, and as an entry of the log."""

import csv
import io
import json
import re

import pytest
from finished import finished_grid

from hallo3_lightning import cli
from hallo3_lightning.ablation.comparison import compared
from hallo3_lightning.ablation.comparison_files import (
    COLUMNS,
    WRITERS,
    as_json,
    comma_separated,
    in_latex,
    in_markdown,
    latex,
    markdown,
)
from hallo3_lightning.ablation.comparison_page import lines
from hallo3_lightning.ablation.grid import read
from hallo3_lightning.ablation.log import add_entry
from hallo3_lightning.ablation.results import collect

CLAIMED = {"a": {"psnr": {"value": 31.5, "source": "a paper & its | table_2"}}}


@pytest.fixture(scope="module")
def page(tmp_path_factory) -> dict:
    """Arms, control, ceiling and a claim, with signs in the question that formats read as their own."""
    question = "Is 50 % of C_1 | {better} than #2?"
    file, root = finished_grid(tmp_path_factory.mktemp("files"), question=question, claimed=CLAIMED)
    grid = read(file)
    return compared(grid, *collect(grid, root))


def test_every_number_of_the_table_is_a_row_of_the_csv(page):
    rows = list(csv.DictReader(io.StringIO(comma_separated(page))))
    assert tuple(rows[0]) == COLUMNS
    found = {(row["kind"], row["name"], row["metric"]): row for row in rows}
    assert len(found) == len(rows) == 3 * 6 + 2 + 1
    first = found["arm", "a", "mouth_correlation"]
    told = page["arms"][0]["metrics"]["mouth_correlation"]
    assert float(first["mean"]) == pytest.approx(0.55)
    assert float(first["difference_low"]) == pytest.approx(told["difference"]["low"])
    assert float(first["corrected_p"]) == pytest.approx(told["difference"]["corrected_p"])
    assert (first["seeds"], first["clips"], first["mark"], first["decides"]) == ("2", "6", "best", "True")
    assert found["arm", "b", "mouth_correlation"]["difference"] == ""
    assert found["arm", "a", "psnr"]["corrected_p"] == ""
    assert found["claimed", "a", "psnr"]["mean"] == "31.5"
    assert found["claimed", "a", "psnr"]["source"] == "a paper & its | table_2"


def test_latex_has_a_row_a_line_and_no_sign_that_it_would_read(page):
    text = latex(page)
    body = text[text.index(r"\toprule") : text.index(r"\bottomrule")]
    rows = [row for row in body.splitlines() if row.endswith(r"\\")]
    assert len(rows) == 1 + 3 + 2 + 2 + 1  # headings, arms, two with differences, control and ceiling, claim
    assert {row.count(" & ") for row in rows} == {6}
    assert r"\caption{Is 50 \% of C\_1 $|$ \{better\} than \#2?" in text
    assert r"claimed by a paper \& its $|$ table\_2: a" in body
    assert r"\textbf{0.550 $\pm$0.071}" in body
    assert re.search(r"(?<!\\)[%#_&]", body.replace(" & ", "")) is None
    bare = re.sub(r"\\[{}]", "", text)
    assert bare.count("{") == bare.count("}")
    assert text.count("$") % 2 == 0


@pytest.mark.parametrize(
    ("text", "printed"),
    [
        (r"a_b & c\d", r"a\_b \& c\textbackslash{}d"),
        ("+0.057 [-0.1, +0.2]", "$+$0.057 [$-$0.1, $+$0.2]"),
        ("~50 %\n^x^", r"\textasciitilde{}50 \% \textasciicircum{}x\textasciicircum{}"),
        ("p < 0.001", "p $<$ 0.001"),
        ("a=1,b-2", "a=1,b-2"),
    ],
)
def test_signs_in_latex(text, printed):
    assert in_latex(text) == printed


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("<script>alert(1)</script> & &lt;", "&lt;script>alert(1)&lt;/script> & &amp;lt;"),
        ("**bold** _so_ cross_attention *", r"\*\*bold\*\* \_so\_ cross_attention \*"),
        ("[here](javascript:x) [-0.1, +0.2]", r"[here\](javascript:x) [-0.1, +0.2]"),
        ("# no heading\nnor line", r"\# no heading nor line"),
        ("- no list", r"\- no list"),
        ("-0.5 ±0.1", "-0.5 ±0.1"),
    ],
)
def test_signs_in_markdown(text, shown):
    assert in_markdown(text) == shown


def test_nothing_of_a_grid_is_markup(page):
    hostile = {**page, "question": "<b>**which**</b>", "missing": {"a": "<script>"}}
    hostile["arms"] = [{**arm, "name": "<i>"} for arm in page["arms"]]
    text = markdown(hostile)
    assert re.findall(r"<(?!br>)", text) == []
    assert "**which**" not in text


def test_markdown_has_one_table_whose_rows_are_whole(page):
    text = markdown(page)
    rows = [line for line in text.splitlines() if line.startswith("|")]
    assert len(rows) == 2 + 3 + 2 + 1
    assert len({len(re.findall(r"(?<!\\)\|", row)) for row in rows}) == 1
    assert "<br>+0.250 [" in rows[2]
    assert r"claimed by a paper & its \| table_2: a" in rows[-1]
    assert [line.kind for line in lines(page)] == ["arm"] * 3 + ["control", "ceiling", "claimed"]


def test_json_is_the_page_and_holds_no_number_that_is_none(page):
    assert json.loads(as_json(page)) == json.loads(json.dumps(page))
    with pytest.raises(ValueError, match="JSON"):
        as_json({**page, "more": float("nan")})


def test_only_the_formats_that_are_asked_for_are_written(tmp_path, capsys):
    file, root = finished_grid(tmp_path)
    typed = ["compare", str(file), "--root", str(root), "--out", str(tmp_path / "out")]
    assert cli.main([*typed, "--format", "latex, csv"]) == 0
    assert {path.name for path in (tmp_path / "out").iterdir()} == {
        "comparison.tex",
        "comparison.csv",
        "comparison.png",
    }
    assert cli.main([*typed, "--format", "latx"]) == 2
    assert (
        "no format 'latx' in --format; did you mean 'latex'? there are: csv, json, latex, md" in capsys.readouterr().err
    )
    assert cli.main([*typed, "--draws", "-1"]) == 2
    assert "--draws is -1; expected 0" in capsys.readouterr().err
    assert set(WRITERS) == {"md", "csv", "latex", "json"}


def test_the_log_has_each_result_once_the_newest_first(page, tmp_path):
    log = tmp_path / "LOG.md"
    log.write_text("# Log of experiments\n\nNewest first.\n\n## 2020-01-01 Something old\n\nIt stays.\n")
    assert add_entry(log, page, "hallo3 compare ways.yaml")
    text = log.read_text()
    assert re.search(r"\n## \d{4}-\d\d-\d\d Is 50 % of C_1 ", text)
    assert text.index("Is 50 %") < text.index("## 2020-01-01 Something old\n\nIt stays.\n")
    assert text.startswith("# Log of experiments\n\nNewest first.\n\n## ")
    for words in (
        "`hallo3 compare ways.yaml`, protocol tiny-v1 aaaa1111",
        "`a-seed0-00000000`",
        "No difference found",
        "| a |",
    ):
        assert words in text
    assert not add_entry(log, page, "hallo3 compare ways.yaml")
    assert log.read_text() == text
    more = {**page, "runs": {**page["runs"], "a-seed2": {"arm": "a", "seed": 2, "folder": "a-seed2-00000000"}}}
    assert add_entry(log, more, "hallo3 compare ways.yaml")
    assert log.read_text().count("\n## ") == 3


def test_a_log_that_is_not_there_is_begun(page, tmp_path):
    assert add_entry(tmp_path / "LOG.md", page, "hallo3 compare ways.yaml")
    assert (tmp_path / "LOG.md").read_text().startswith("# Log of experiments\n\nNewest first.\n\n## ")
