"""Clips into cells, cells to equal numbers, and the command on rows of known scores."""

import json
import os
from pathlib import Path

import numpy as np
import pytest
import torch

from hallo3_lightning.cli import main
from hallo3_lightning.errors import UsageError
from hallo3_lightning.evaluation.arms import Arms, arms_of
from hallo3_lightning.evaluation.folders import Video
from hallo3_lightning.evaluation.footage import Measured
from hallo3_lightning.evaluation.kept import Store
from hallo3_lightning.evaluation.rows_file import read
from hallo3_lightning.evaluation.strata import DIMENSIONS, cells, dimension_of, stratified
from hallo3_lightning.evaluation.strata_page import sentences
from hallo3_lightning.evaluation.strata_sets import equal_cells
from hallo3_lightning.verbs.strata import run

YAW = DIMENSIONS["yaw"]


def written(folder: Path, yaws: list[float], score=lambda yaw: 1.0) -> Path:
    """Rows of a metric that is a function of the yaw, and of its ceiling."""
    lines = []
    for i, yaw in enumerate(yaws):
        lines.append({"clip": f"c{i:03d}", "conditions": {"yaw": yaw}})
        for source, value in (("generated", score(yaw)), ("reconstruction", 2.0)):
            row = {"clip": f"c{i:03d}", "source": source, "metric": "sync", "value": value, "unit": "u"}
            lines.append({**row, "status": "no face" if value is None else "scored", "higher_is_better": True})
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "rows.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    return folder


@pytest.mark.parametrize(
    ("yaw", "cell"),
    [(0, "0-15"), (-14.9, "0-15"), (15, "15-30"), (-30, "30-60"), (60, "60-90"), (90, "60-90"), (91, None)],
)
def test_edges_belong_to_the_cell_above_and_sides_are_one(yaw, cell):
    assert YAW.cell(yaw) == cell


def test_still_and_moving_backgrounds():
    background = DIMENSIONS["background"]
    assert [background.cell(motion) for motion in (0.0, 0.3, 6.0)] == ["still", "moving", "moving"]
    assert DIMENSIONS["length"].cell(1e4) == "10 and more"


def test_cells_with_enough_have_the_same_number_and_few_keep_theirs():
    values = {f"c{i:02d}": yaw for i, yaw in enumerate([5.0] * 9 + [20.0] * 6 + [70.0] * 2)}
    parts = cells(YAW, values, least=5, seed=1)
    assert [(c.label, len(c.clips), len(c.chosen), c.few) for c in parts] == [
        ("0-15", 9, 6, False),
        ("15-30", 6, 6, False),
        ("60-90", 2, 2, True),
    ]
    assert parts == cells(YAW, dict(reversed(values.items())), least=5, seed=1)
    assert parts[0].chosen != cells(YAW, values, least=5, seed=2)[0].chosen
    assert all(len(c.chosen) == len(c.clips) and c.few for c in cells(YAW, values, least=30))


def test_a_condition_without_edges_is_cut_into_thirds():
    values = {f"c{i}": float(i) for i in range(9)}
    parts = cells(dimension_of("loudness", values), values, least=2)
    assert [len(cell.clips) for cell in parts] == [3, 3, 3]
    same = dict.fromkeys(values, 4.0)
    assert [len(cell.clips) for cell in cells(dimension_of("loudness", same), same, least=2)] == [9]


def one(folder: Path) -> Arms:
    return arms_of([str(folder)])


def test_a_planted_fall_with_yaw_is_found_and_nothing_else(tmp_path):
    yaws = [i % 14 for i in range(30)] + [16 + i % 13 for i in range(24)] + [40.0, 95.0]
    falling = one(written(tmp_path / "a", yaws, lambda yaw: 5 - 0.1 * yaw + 0.01 * (yaw % 3)))
    found = stratified(falling, "yaw", least=20)
    assert found.beyond == 1
    assert found.scores["0-15", "a", "reconstruction", "sync"].interval.mean == 2
    (contrast,) = found.contrasts
    assert (contrast.cell, contrast.against, contrast.of_arms) == ("15-30", "0-15", False)
    assert contrast.difference.mean == pytest.approx(-1.55, abs=0.2)
    assert contrast.p < 1e-6
    level = stratified(one(written(tmp_path / "b", yaws, lambda yaw: yaw % 3)), "yaw", least=20)
    assert level.contrasts[0].p > 0.2


def test_an_arm_that_fails_at_large_yaw_alone_is_found_there(tmp_path):
    """Three seeds of each arm, whose scores differ by noise below 30 degrees and by 1 above."""
    yaws = [5.0] * 12 + [40.0] * 12
    draws = np.random.default_rng(0)

    def noisy(fall: float):
        return lambda yaw: 3 + 0.1 * draws.normal() - fall * (yaw > 30)

    folders = [
        written(tmp_path / f"{arm}-seed{seed}-0123abcd", yaws, noisy(fall))
        for arm, fall in (("steady", 0.0), ("falling", 1.0))
        for seed in range(3)
    ]
    arms = arms_of([str(folder) for folder in folders])
    assert [(arm.name, len(arm.runs)) for arm in arms.arms] == [("steady", 3), ("falling", 3)]
    found = stratified(arms, "yaw", ["sync"], least=10)
    score = found.scores["30-60", "falling", "generated", "sync"].interval
    assert (score.seeds, score.clips) == (3, 12)
    assert score.mean == pytest.approx(2, abs=0.1)
    sure = {(c.arm, c.cell, c.against) for c in found.contrasts if c.p < 0.01}
    assert sure == {("falling", "30-60", "0-15"), ("falling", "30-60", "steady")}
    told = " ".join(sentences(found))
    assert "sync of falling against steady at yaw 30-60 differs by -0.9" in told
    assert "sync of steady, yaw 30-60 against 0-15: no difference found" in told


def test_folders_that_cannot_stand_side_by_side(tmp_path):
    def rows(place: str, yaw: float = 3.0, protocol: str = "77b7", clip: str = "a") -> str:
        line = {"clip": clip, "metric": "m", "value": 1, "protocol": "p", "protocol_hash": protocol}
        (tmp_path / place).mkdir(parents=True)
        (tmp_path / place / "rows.jsonl").write_text(json.dumps({**line, "conditions": {"yaw": yaw, "length": yaw}}))
        return str(tmp_path / place)

    first = rows("x/scores")
    with pytest.raises(UsageError, match="is given twice"):
        arms_of([first, f"{first}/rows.jsonl"])
    with pytest.raises(UsageError, match="scored in different ways .*p 77b7.*p 0000.*one protocol"):
        arms_of([first, rows("other", protocol="0000")])
    with pytest.raises(UsageError, match="says that the yaw of clip 'a' is 9"):
        arms_of([first, rows("turned", yaw=9.0)])
    second = rows("y/scores")
    assert [arm.name for arm in arms_of([first, second]).arms] == ["x/scores", "y/scores"]
    assert [arm.name for arm in arms_of([f"ours={first}", f"ours={second}"]).arms] == ["ours"]
    runs = [
        rows(f"{grid}/adaln-seed0-{digits}/evaluation/p") for grid, digits in (("g", "01234567"), ("h", "89abcdef"))
    ]
    assert arms_of(runs[:1]).arms[0].name == "adaln"
    with pytest.raises(UsageError, match="another folder of adaln with seed 0; name the arms apart: NAME="):
        arms_of(runs)
    assert arms_of([first, rows("z", clip="b")]).left_out == 2


def kept_sets(folder: Path, yaws: list[float], move: float = 0.0) -> Path:
    """An evaluation's folder: features of E-FID and KID of real and generated clips, and rows that say so."""
    folder.mkdir()
    draws = torch.Generator().manual_seed(round(10 * move))
    lines = []
    for i, yaw in enumerate(yaws):
        clip = f"c{i:03d}"
        lines.append({"clip": clip, "conditions": {"yaw": yaw}})
        for metric in ("efid/precomputed", "kid/pytorch_fid"):
            lines.append({"clip": clip, "metric": metric, "value": None, "status": "in the set"})
        for side, shift in (("real", 0.0), ("fake", move * (yaw > 30))):
            rows = torch.randn(3, 4, generator=draws) + shift
            made = {
                name: Measured({"rows": rows.clone()}) for name in ("expression_file/given", "inception/pytorch_fid")
            }
            video = Video(side, clip, folder / clip, clip, None)
            Store(folder / "features").save(video, "", 3, made, dict.fromkeys(made, "f"))
    (folder / "rows.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    return folder


def test_distances_of_sets_are_told_by_cell_at_equal_numbers(tmp_path, capsys):
    yaws = [5.0] * 40 + [40.0] * 31 + [70.0] * 3
    folders = [kept_sets(tmp_path / name, yaws, move) for name, move in (("near", 0.0), ("far", 3.0))]
    assert main(["strata", *map(str, folders), "--out", str(tmp_path / "out")]) == 0
    cells = {
        c["cell"]: c["scores"] for c in json.loads((tmp_path / "out/strata.json").read_text())["strata"]["yaw"]["cells"]
    }
    kid, efid = (
        {(cell, arm): scores[arm]["sets"].get(metric) for cell, scores in cells.items() for arm in scores}
        for metric in ("kid/pytorch_fid", "efid/precomputed")
    )
    assert {score["clips"] for score in [*kid.values(), *efid.values()]} == {31}
    assert not any(score["few"] for score in kid.values())
    assert all(score["few"] for score in efid.values())  # 256 are enough, and no cell has so many
    assert kid["30-60", "far"]["low"] > 1 > kid["0-15", "far"]["high"]
    assert kid["30-60", "near"]["low"] < 0 < kid["30-60", "near"]["high"]
    assert efid["30-60", "far"]["value"] > 10 * efid["30-60", "near"]["value"]
    assert set(cells) == {"0-15", "30-60", "60-90"}  # three clips have no halves, and so no distance
    assert cells["60-90"] == {}
    told = capsys.readouterr().out
    assert told.index("kid/pytorch fid") < told.index("efid/precomputed")
    assert "[95 %] over halves" in " ".join(told.split())


def test_cells_of_sets_are_of_one_number_even_where_all_are_few():
    values = {f"c{i:02d}": yaw for i, yaw in enumerate([5.0] * 12 + [20.0] * 7 + [40.0] * 4 + [70.0] * 3)}
    parts = equal_cells(YAW, values, 256, 0)
    assert [(c.label, len(c.chosen), c.few) for c in parts] == [
        ("0-15", 4, True),
        ("15-30", 4, True),
        ("30-60", 4, True),
    ]
    enough = equal_cells(YAW, values, 7, 0)
    assert [(len(c.chosen), c.few) for c in enough] == [(7, False), (7, False), (4, True)]


def test_clips_without_a_score_are_counted(tmp_path):
    rows = one(written(tmp_path / "a", [5.0] * 6, lambda yaw: None))
    found = stratified(rows, "yaw", ["sync"], least=2)
    score = found.scores["0-15", "a", "generated", "sync"]
    assert (score.interval, score.unscored) == (None, 6)
    assert read(tmp_path / "a").metrics["generated", "sync"].unscored == {f"c{i:03d}": "no face" for i in range(6)}
    with pytest.raises(UsageError, match="no clip has a score"):
        main_of(tmp_path / "a")


def main_of(folder: Path) -> None:
    """The verb itself, whose errors are not yet sentences."""
    run([str(folder)], None, [], None, 30, 0, None)


def test_the_command_writes_table_pictures_and_numbers(tmp_path, capsys):
    folder = written(tmp_path / "run", [3.0 * i for i in range(25)], lambda yaw: 5 - 0.1 * yaw)
    assert main(["strata", str(folder), "--least", "4", "--out", str(tmp_path / "out")]) == 0
    told = capsys.readouterr().out
    assert "sync of run, yaw 15-30 against 0-15 differs by -1.5" in told
    cell = json.loads((tmp_path / "out/strata.json").read_text())["strata"]["yaw"]["cells"][1]
    assert (cell["cell"], cell["clips"], cell["scores"]["run"]["generated"]["sync"]["clips"]) == ("15-30", 5, 5)
    page = (tmp_path / "out/strata.md").read_text()
    assert "| metric | arm | 0-15, n=5 | 15-30, n=5 |" in page
    assert "| sync ↑ u | run | 4.40 ±0.589 | 2.90 ±0.589 |" in page
    assert (tmp_path / "out/strata-yaw.png").stat().st_size > 5000


def test_names_are_shown_as_they_are(tmp_path, capsys):
    """Neither as markup nor as formulae, and none parts a cell of the table."""
    odd = "[red] $x_{$ | <b>"
    rows = [
        {"clip": f"c{i}", "conditions": {odd: i}, "metric": odd, "value": i, "unit": "$x_{$", "source": source,
         "stamp": odd}
        for i in range(4) for source in ("generated", "[bold]$x_{$")
    ]  # fmt: skip
    (tmp_path / "rows.jsonl").write_text("\n".join(map(json.dumps, rows)))
    out = tmp_path / "out"
    assert main(["strata", f"$y_{{$|[b]={tmp_path}", "--out", str(out), "--least", "2"]) == 0
    assert f"{odd} (thirds of the clips)" in " ".join(capsys.readouterr().out.split())
    assert r"| [red] $x {$ \| <b> $x_{$ | $y_{$\|[b] |" in (out / "strata.md").read_text()
    assert (out / f"strata-{odd}.png").is_file()


def test_a_condition_that_no_clip_fits_has_no_picture(tmp_path, capsys):
    rows = [{"clip": f"c{i}", "conditions": {"yaw": 200, "loudness": i}, "metric": "m", "value": i} for i in range(4)]
    (tmp_path / "rows.jsonl").write_text("\n".join(map(json.dumps, rows)))
    assert main(["strata", str(tmp_path), "--least", "2"]) == 0
    assert "4 clips in no cell" in capsys.readouterr().out
    assert [path.name for path in tmp_path.glob("*.png")] == ["strata-loudness.png"]


def test_clips_in_the_set_of_what_is_none_are_refused(tmp_path, capsys):
    row = {
        "clip": "a",
        "conditions": {"yaw": 3},
        "metric": "sharpness/laplacian",
        "value": None,
        "status": "in the set",
    }
    (tmp_path / "rows.jsonl").write_text(json.dumps(row))
    assert main(["strata", str(tmp_path)]) == 2
    assert "of sharpness/laplacian, which is no distance of sets; score them again" in capsys.readouterr().err


def test_a_folder_whose_name_is_no_text_is_given_another(tmp_path):
    folder = written(tmp_path / os.fsdecode(b"bad\xff"), [5.0] * 4)
    with pytest.raises(UsageError, match="is no name in UTF-8; give another to that folder: NAME=FOLDER"):
        arms_of([str(folder)])
    assert [arm.name for arm in arms_of([f"good={folder}"]).arms] == ["good"]


def test_protocol_and_stamp_stand_on_everything(tmp_path, capsys):
    row = {"metric": "fid", "value": 3.0, "protocol": "tiny", "protocol_hash": "77b7", "stamp": "NOT A QUALITY SCORE"}
    lines = [{"clip": f"c{i}", **row, "conditions": {"yaw": 3}} for i in range(4)]
    (tmp_path / "rows.jsonl").write_text("\n".join(map(json.dumps, lines)))
    assert main(["strata", str(tmp_path)]) == 0
    stamped = "NOT A QUALITY SCORE; protocol tiny 77b7"
    assert stamped in capsys.readouterr().out
    assert stamped in (tmp_path / "strata.md").read_text()
    assert json.loads((tmp_path / "strata.json").read_text())["stamps"] == stamped.split("; ")


def test_conditions_of_users_stand_in(tmp_path, capsys):
    folder = written(tmp_path, [5.0] * 6)
    own = tmp_path / "own.jsonl"
    own.write_text("".join(json.dumps({"clip": f"c{i:03d}", "yaw": 20, "loudness": i}) + "\n" for i in range(6)))
    assert main(["strata", str(folder), "--conditions", str(own), "--least", "2"]) == 0
    told = capsys.readouterr().out
    assert "15-30" in told
    assert "loudness (thirds of the clips)" in told
    own.write_text('{"clip": "stranger", "yaw": 3}\n')
    assert main(["strata", str(folder), "--conditions", str(own)]) == 2
    assert "knows none of the clips; the rows are of c000, c001, c002" in capsys.readouterr().err


def test_what_is_missing_is_said(tmp_path):
    with pytest.raises(UsageError, match=r"there is no .*rows.jsonl; give a rows.jsonl, or the folder of a run"):
        read(tmp_path)
    (tmp_path / "rows.jsonl").write_text('{"clip": "a", "metric": "sync", "value": 1}\n{"clip": 3}\n')
    with pytest.raises(UsageError, match=r"rows.jsonl, line 2 is no row"):
        read(tmp_path)
    (tmp_path / "rows.jsonl").write_text('{"clip": "a", "metric": "sync", "value": 1}\n')
    with pytest.raises(UsageError, match="nothing is known of the yaw of these clips; known are: no conditions"):
        stratified(one(tmp_path), "yaw")
    with pytest.raises(UsageError, match="no metric 'snyc'; did you mean 'sync'"):
        stratified(one(written(tmp_path, [1.0] * 3)), "yaw", ["snyc"])
