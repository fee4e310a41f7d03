"""Clips into cells, cells to equal numbers, and the command on rows of known scores."""

import json
from pathlib import Path

import pytest
import torch

from hallo3_lightning.cli import main
from hallo3_lightning.errors import UsageError
from hallo3_lightning.evaluation.distances import ClipRows, frechet, kernel
from hallo3_lightning.evaluation.rows_file import read
from hallo3_lightning.evaluation.strata import DIMENSIONS, cells, dimension_of, distances, stratified

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


def test_a_planted_fall_with_yaw_is_found_and_nothing_else(tmp_path):
    yaws = [i % 14 for i in range(30)] + [16 + i % 13 for i in range(24)] + [40.0, 95.0]
    falling = read(written(tmp_path / "a", yaws, lambda yaw: 5 - 0.1 * yaw + 0.01 * (yaw % 3)))
    found = stratified(falling, "yaw", least=20)
    assert found.beyond == 1
    assert found.scores["0-15", "reconstruction", "sync"].interval.mean == 2
    (contrast,) = found.contrasts
    assert (contrast.cell, contrast.against) == ("15-30", "0-15")
    assert contrast.difference.mean == pytest.approx(-1.55, abs=0.2)
    assert contrast.p < 1e-6
    level = stratified(read(written(tmp_path / "b", yaws, lambda yaw: yaw % 3)), "yaw", least=20)
    assert level.contrasts[0].p > 0.2


def test_distances_of_cells_are_of_equal_numbers():
    """Of one distribution: the kernel distance is about 0 in all, the Fréchet distance says only how many clips there are."""
    made = torch.Generator().manual_seed(0)
    yaws = {f"c{i:03d}": yaw for i, yaw in enumerate([5.0] * 90 + [20.0] * 30)}
    real, fake = (ClipRows({clip: torch.randn(2, 6, generator=made) for clip in yaws}) for _ in range(2))
    uncut, equal = cells(YAW, yaws, least=91), cells(YAW, yaws, least=30)
    biased = distances(uncut, real, fake, frechet, draws=20)
    assert biased["15-30"].value > 2 * biased["0-15"].value
    level = distances(equal, real, fake, frechet, draws=20)
    assert level["15-30"].value < 1.5 * level["0-15"].value
    assert all(abs(found.value) < 0.3 for found in distances(uncut, real, fake, kernel, draws=20).values())
    few = cells(YAW, {"c000": 5.0, "c001": 5.0, "c002": 5.0})
    assert distances(few, real, fake, frechet) == {}


def test_clips_without_a_score_are_counted(tmp_path):
    rows = read(written(tmp_path, [5.0] * 6, lambda yaw: None))
    found = stratified(rows, "yaw", ["sync"], least=2)
    with pytest.raises(UsageError, match="no clip has a score of its own"):
        stratified(rows, "yaw")
    score = found.scores["0-15", "generated", "sync"]
    assert (score.interval, score.unscored) == (None, 6)
    assert read(tmp_path).metrics["generated", "sync"].unscored == {f"c{i:03d}": "no face" for i in range(6)}


def test_the_command_writes_table_picture_and_numbers(tmp_path, capsys):
    folder = written(tmp_path / "run", [3.0 * i for i in range(25)], lambda yaw: 5 - 0.1 * yaw)
    assert main(["strata", str(folder), "--least", "4", "--out", str(tmp_path / "out")]) == 0
    told = capsys.readouterr().out
    assert "15-30 against 0-15 differs by -1.5" in told
    cell = json.loads((tmp_path / "out/strata.json").read_text())["strata"]["yaw"]["cells"][1]
    assert (cell["cell"], cell["clips"], cell["scores"]["generated"]["sync"]["clips"]) == ("15-30", 5, 5)
    assert "| 15-30 | 5 | 2.90" in (tmp_path / "out/strata.md").read_text()
    assert (tmp_path / "out/strata.png").stat().st_size > 5000


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
        stratified(read(tmp_path), "yaw")
    with pytest.raises(UsageError, match="no metric 'snyc'; did you mean 'sync'"):
        stratified(read(written(tmp_path, [1.0] * 3)), "yaw", ["snyc"])
