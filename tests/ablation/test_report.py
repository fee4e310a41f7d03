"""`hallo3 report`: what the page says, that it stands alone, and that no text of a grid becomes code of the page."""

import base64
import json
import re
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from finished import SCORES, finished_grid
from furnished import FRAMES, KEPT, furnish, keep_clips
from parsed import Parsed

from hallo3_lightning.ablation.grid import read
from hallo3_lightning.ablation.places import places
from hallo3_lightning.ablation.report import write
from hallo3_lightning.ablation.report.contents import Contents, contents
from hallo3_lightning.ablation.report.origins import origins
from hallo3_lightning.ablation.report.page import colours, html
from hallo3_lightning.ablation.report.rung_alarms import ringing
from hallo3_lightning.ablation.report.side_by_side import Stage, stage
from hallo3_lightning.ablation.report.write import report
from hallo3_lightning.ablation.results import collect
from hallo3_lightning.cli import main

METRICS = ("mouth correlation", "mouth lag", "identity distance", "temporal jitter", "seam", "psnr")
CLAIMED = {"a": {"mouth_correlation": {"value": 0.99, "source": "A. Paper, table 3"}}}
HOSTILE = "</script><script>alert(1)</script>\"'><img src=x onerror=alert(2)> {{ 7 * 7 }} $\\frac{"


def run_folders(file: Path, root: Path) -> dict:
    return {place.run.name: place.folder for place in places(read(file), root)}


def furnished_grid(folder: Path, **page) -> tuple[Path, Path]:
    file, root = finished_grid(folder, **page)
    for name, run in run_folders(file, root).items():
        shade = [*SCORES].index(name[0])
        furnish(run, shade)
        if name.endswith("seed0"):
            keep_clips(run, shade)
    return file, root


@pytest.fixture(scope="module")
def full(tmp_path_factory) -> tuple[Path, Path]:
    """Every section has something to show. Read only."""
    return furnished_grid(
        tmp_path_factory.mktemp("full"), why="Since nobody knows.", decide_by=["mouth_correlation"], claimed=CLAIMED
    )


@pytest.fixture(scope="module")
def told(full) -> Contents:
    file, root = full
    return contents(read(file), root, 2)


@pytest.fixture(scope="module")
def written(full) -> str:
    file, root = full
    assert report(file, root=root) == 0
    return (root / "ways" / "report.html").read_text(encoding="utf-8")


@pytest.fixture
def again(full, tmp_path) -> tuple[Path, Path]:
    """A copy to damage."""
    home = full[0].parents[1]
    shutil.copytree(home, tmp_path / "copy")
    return tmp_path / "copy" / "grids" / "ways.yaml", tmp_path / "copy" / "runs"


def stage_of(file: Path, root: Path, most: int = 9) -> Stage:
    results, _ = collect(read(file), root)
    return stage([*SCORES], {arm: i for i, arm in enumerate(SCORES)}, results, most, ["mouth_correlation"])


def page_of(file: Path, root: Path) -> Parsed:
    report(file, root=root)
    return Parsed((root / "ways" / "report.html").read_text(encoding="utf-8"))


def test_the_page_says_question_verdict_every_arm_and_every_metric(written):
    page = Parsed(written)
    wanted = [
        "Which way?",
        "Since nobody knows.",
        "mouth correlation",
        *METRICS,
        *SCORES,
        "floor",
        "ceiling",
        "baseline",
    ]
    wanted += ["aaaa1111", "c0ffee", "da7a", "2.13", "model.audio", "way-0", "way-2", "1,100", "training loss"]
    wanted += ["validation psnr", "yaw", "claimed by A. Paper, table 3", "0.990", "low quality", "grids/ways.yaml"]
    assert [word for word in wanted if word not in page.text] == []
    assert "not measured here" not in page.text, "the claim has a column"
    assert "length" not in page.text, "all clips are equally long, which parts nothing"


def test_the_verdict_is_that_of_the_comparison(told, written):
    assert told.comparison["verdicts"]
    for verdict in told.comparison["verdicts"]:
        assert verdict["sentence"] in Parsed(written).text
    assert [note for note in told.notes if note not in Parsed(written).text] == []


def test_the_page_needs_nothing_beside_itself(written):
    elements = Parsed(written).elements
    addresses = [
        attributes[name] or ""
        for _, attributes in elements
        for name in ("src", "href", "xlink:href", "poster", "action", "data", "srcset")
        if name in attributes
    ]
    assert [address[:40] for address in addresses if not address.startswith(("data:video/mp4;base64,", "#"))] == []
    assert {tag for tag, _ in elements} & {"link", "iframe", "object", "embed", "base", "form"} == set()
    assert re.findall(r"@import|url\((?!#)", written) == []


def test_only_our_script_may_run(written):
    page = Parsed(written)
    policy = next(meta["content"] for meta in page.all("meta") if meta.get("http-equiv") == "Content-Security-Policy")
    assert policy is not None
    assert "default-src 'none'" in policy
    assert re.search(r"script-src 'sha256-[\w+/]+=*';", policy)
    assert len(page.all("script")) == 1


def test_texts_of_the_grid_and_the_clips_are_text(tmp_path):
    file, root = finished_grid(tmp_path, question=HOSTILE, why=HOSTILE, seeds=[0], axes={"model.audio": ["a", "b"]})
    for run in run_folders(file, root).values():
        furnish(run)
        keep_clips(run, caption=HOSTILE)
        metrics = run.path / "metrics.json"
        metrics.write_text(metrics.read_text().replace('"deviations"', json.dumps(HOSTILE)))
    page = page_of(file, root)
    assert len(page.all("script")) == 1
    assert page.all("img") == []
    assert [a for _, a in page.elements if any(name.startswith("on") for name in a)] == []
    assert page.text.count(" ".join(HOSTILE.split())) >= 4


def test_clips_are_the_runs_own_files_truth_first(full, told):
    file, root = full
    assert [clip.name for clip in told.stage.clips] == ["clip-0", "clip-1"]
    assert [(s.title, s.arm, s.has_sound) for s in told.stage.screens] == [
        ("truth", None, True),
        ("ceiling", None, False),
        ("a", 0, False),
        ("b", 1, False),
        ("c", 2, False),
    ]
    kept = (run_folders(file, root)["b-seed0"].samples / "generated" / "01.mp4").read_bytes()
    assert base64.b64decode(told.stage.screens[3].views[1].video.split(",")[1]) == kept
    assert told.stage.screens[3].views[1].scores[0] == ("mouth_correlation", "0.200")


@pytest.mark.parametrize(("asked", "got"), [(0, 0), (1, 1), (99, KEPT)])
def test_as_many_clips_as_asked_for_and_kept(full, told, asked, got):
    page = Parsed(html(replace(told, stage=stage_of(*full, asked))))
    assert len(page.all("video")) == (5 if got else 0)
    assert sum("data-clip" in button for button in page.all("button")) == got
    assert ("none were asked for" in page.text) == (asked == 0)


def test_curves_under_videos_lie_where_the_mouth_is(told):
    stage = told.stage
    heights = [float(point.split(",")[1]) for point in stage.screens[0].views[0].mouth.split()]
    assert len(heights) == FRAMES
    assert np.argmin(heights[:4]) == 3, "the lowest number is the highest place: the widest mouth"
    shifted = [float(point.split(",")[1]) for point in stage.screens[2].views[0].mouth.split()]
    assert shifted[1:] == heights[:-1], "arm a is one frame late"
    assert stage.screens[2].views[0].true_mouth == stage.screens[0].views[0].mouth


def test_one_finished_run_without_anything_else_makes_a_page_that_says_what_is_missing(tmp_path):
    left_out = [f"{arm}-seed{seed}" for arm in SCORES for seed in (0, 1) if (arm, seed) != ("b", 1)]
    file, root = finished_grid(tmp_path, skip=tuple(left_out), strata=["yaw"])
    assert report(file, root=root) == 1
    page = Parsed((root / "ways" / "report.html").read_text())
    wanted = [*left_out, "b-seed1 has no curves.csv", "no run of b has kept videos", "No clips", "No curves", "of 6"]
    wanted += ["b-seed1 is not in the plots by condition", "nothing is known of the yaw", "unknown"]
    assert [word for word in wanted if word not in page.text] == []


def test_an_arm_without_clips_is_named_and_the_others_are_shown(again):
    file, root = again
    for name, run in run_folders(file, root).items():
        if name.startswith("a-"):
            shutil.rmtree(run.samples)
    (run_folders(file, root)["b-seed0"].samples / "truth" / "00.mp4").unlink()
    shown = stage_of(file, root)
    assert "no run of a has kept videos" in " ".join(shown.missing)
    assert [screen.title for screen in shown.screens] == ["truth", "ceiling", "b", "c"]
    assert [clip.name for clip in shown.clips] == ["clip-1", "clip-2"], "those that are whole in both"


def test_runs_that_kept_other_clips_have_none_side_by_side(again):
    file, root = again
    for name, run in run_folders(file, root).items():
        if name == "c-seed0":
            page = run.samples / "clips.json"
            page.write_text(page.read_text().replace("clip-", "other-"))
    assert "different clips" in " ".join(stage_of(file, root).missing)


def test_nothing_finished_is_one_sentence(tmp_path, capsys):
    file, root = finished_grid(tmp_path, skip=tuple(f"{arm}-seed{seed}" for arm in SCORES for seed in (0, 1)))
    assert main(["report", str(file), "--root", str(root)]) == 2
    assert "nothing to report; `hallo3 status" in capsys.readouterr().err
    assert not (root / "ways" / "report.html").exists()


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (["--out", "{}/page.pdf"], "expected the name of a page, for example"),
        (["--out", "{}"], "expected the name of a page"),
        (["--out", "{}/grids/ways.yaml/page.html"], "is a file; name a folder"),
        (["--clips", "-1"], "expected 0 or more"),
        (["--clips", "many"], "invalid int value"),
    ],
)
def test_mistakes_are_one_sentence(full, given, said, capsys):
    file, root = full
    arguments = [argument.format(file.parents[1]) for argument in given]
    assert main(["report", str(file), "--root", str(root), *arguments]) == 2
    error = capsys.readouterr().err
    assert said in error
    assert error.count("\n") == 1


def test_the_size_is_said_and_a_large_page_is_warned_of(full, tmp_path, capsys, monkeypatch):
    file, root = full
    out = tmp_path / "new" / "page.html"
    assert report(file, root=root, out=out, clips=2) == 0
    assert f"written to {out} ({out.stat().st_size / 1e6:.1f} MB, 2 clips)" in capsys.readouterr().out
    monkeypatch.setattr(write, "LARGE", 1000)
    report(file, root=root, out=out, clips=2)
    assert "large for a phone; --clips 1 makes it smaller" in capsys.readouterr().out


def test_what_differs_between_arms_is_listed_and_nothing_else(told):
    values = {difference.name: difference.values for difference in told.differences}
    assert values["model.audio"] == ("way-0", "way-1", "way-2")
    assert values["trainable parameters"] == ("1,100", "1,080", "1,060")
    assert values["milliseconds a step"] == ("122",) * 3
    assert not {"seed_everything", "phase", "data.shards"} & values.keys()


def test_an_origin_that_runs_do_not_share_names_them(again):
    file, root = again
    odd = run_folders(file, root)["c-seed1"].path / "provenance.json"
    odd.write_text(odd.read_text().replace("c0ffee", "decaf"))
    commits = [origin for origin in origins(collect(read(file), root)[0]) if origin.what == "commit"]
    assert [(origin.value, len(origin.runs)) for origin in commits] == [("c0ffee", 5), ("decaf", 1)]
    odd.write_text("{")
    assert "unknown" in [origin.value for origin in origins(collect(read(file), root)[0])]


def test_the_best_is_marked_and_places_follow_the_numbers(told):
    table = told.table
    assert [(row.name, row.kind) for row in table.rows] == [
        ("a", "arm"),
        ("b", "arm"),
        ("c", "arm"),
        ("shuffled audio", "floor"),
        ("reconstruction", "ceiling"),
        ("a", "claimed"),
    ]
    correlation = [row.cells[0] for row in table.rows]
    places = [cell.place for cell in correlation if cell is not None]
    assert np.argsort(places).tolist() == [3, 2, 1, 0, 4, 5]
    assert [cell.mark for cell in correlation[:3] if cell is not None][0] == "best"
    distance = next(i for i, column in enumerate(table.columns) if column.metric == "identity_distance")
    assert table.rows[0].cells[distance].sort == -3.25  # the lower the better
    assert table.rows[5].cells[distance] is None


def test_alarms_say_whether_they_still_ring(told):
    alarms = {alarm.run: alarm for alarm in told.curves.alarms}
    assert len(alarms) == 6
    assert (alarms["a-seed0"].steps, alarms["a-seed0"].judged, alarms["a-seed0"].is_still) == ((50,), 2, False)
    assert (alarms["b-seed0"].steps, alarms["b-seed0"].is_still) == ((50, 100), True)
    assert ringing({"quiet": (0, {"alarm/seams": [(1, -0.1)], "train/loss": [(1, 3.0)]})}) == []


def test_every_arm_has_a_colour_of_its_own():
    assert len({colours(arm) for arm in range(40)}) == 40


def test_damaged_clips_are_one_sentence(again, capsys):
    file, root = again
    (run_folders(file, root)["a-seed0"].samples / "clips.json").write_text("{")
    assert main(["report", str(file), "--root", str(root)]) == 2
    assert "clips.json is damaged; `hallo3 test`" in capsys.readouterr().err


def test_silent_clips_have_no_sound_to_switch(again):
    file, root = again
    for run in run_folders(file, root).values():
        page = run.samples / "clips.json"
        if page.is_file():
            known = json.loads(page.read_text())["clips"]
            page.write_text(json.dumps({"clips": [{**clip, "loudness": []} for clip in known]}))
    assert not any(screen.has_sound for screen in stage_of(file, root).screens)
