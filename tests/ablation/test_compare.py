"""The comparison of finished runs, with numbers worked out by hand."""

import json
import re

import pytest
from finished import SCORES, finished_grid
from PIL import Image

from hallo3_lightning.ablation.compare import compare
from hallo3_lightning.errors import UsageError


def comparison(root):
    return json.loads((root / "ways" / "comparison.json").read_text())


@pytest.fixture
def wide(monkeypatch):
    monkeypatch.setenv("COLUMNS", "200")


def test_means_and_spreads_over_seeds(tmp_path, wide, capsys):
    file, root = finished_grid(tmp_path)
    assert compare(file, root=root) == 0
    page = comparison(root)
    assert [arm["name"] for arm in page["arms"]] == ["a", "b", "c"]
    first = page["arms"][0]
    assert first["settings"] == {"model.audio": "a"}
    assert first["seeds"] == [0, 1]
    assert first["metrics"]["mouth_correlation"] == {
        "mean": pytest.approx(0.55),
        "std": pytest.approx(0.0707, abs=1e-4),
        "n": 2,
        "values": [0.5, 0.6],
        "unit": "correlation",
        "higher_is_better": True,
    }
    assert (first["trainable_parameters"], first["steps"], first["seconds"], first["clips"]) == (1100, 500, 61.0, 6)
    assert page["controls"]["shuffled_audio"]["mouth_correlation"]["mean"] == 0
    assert page["controls"]["reconstruction"]["mouth_correlation"]["mean"] == 0.75
    assert page["protocol"]["hash"] == "aaaa1111"
    text = capsys.readouterr().out
    for words in ("0.550 ±0.071", "b *", "control: shuffled audio", "ceiling: reconstruction", "1,100", "1 min 01 s"):
        assert words in text


def test_control_is_beaten_clip_by_clip(tmp_path, wide, capsys):
    file, root = finished_grid(tmp_path)
    compare(file, root=root)
    # a: gains of 0.55 ± 0.2 in 6 clips: deviation 0.219, error 0.0894, 6.1 errors
    gain = comparison(root)["arms"][0]["above_control"]["mouth_correlation"]
    assert (gain["difference"], gain["std_error"]) == (pytest.approx(0.55), pytest.approx(0.08944, abs=1e-4))
    text = capsys.readouterr().out
    assert (
        "a beats its shuffled audio control in mouth correlation by 6.1 standard errors (+0.550 ± 0.089 over 6 clips)."
        in text
    )
    assert (
        "c shows no difference to its shuffled audio control in mouth correlation (+0.010 ± 0.089 over 6 clips)."
        in text
    )
    assert "Careful" not in text


def test_a_score_below_the_control_is_said(tmp_path, wide, capsys, monkeypatch):
    monkeypatch.setitem(SCORES, "c", {0: -0.5, 1: -0.6})
    file, root = finished_grid(tmp_path)
    compare(file, root=root)
    assert (
        "c falls below its shuffled audio control in mouth correlation by 6.1 standard errors"
        in capsys.readouterr().out
    )


def test_seeds_that_did_not_learn_are_named(tmp_path, wide, capsys, monkeypatch):
    monkeypatch.setitem(SCORES, "b", {0: 0.9, 1: 0.01})
    file, root = finished_grid(tmp_path)
    compare(file, root=root)
    text = capsys.readouterr().out
    assert "b beats its" in text
    assert "Careful: b-seed1 does not beat the control in mouth correlation, 1 other seed of b did." in text
    assert text.count("Careful") == 1  # c learned with no seed, a with both
    assert text.count("Careful") == (root / "ways" / "comparison.md").read_text().count("Careful")


@pytest.mark.parametrize(
    "text", ["", "{", "[]", "{}", '{"metrics": 1, "controls": {}, "rows": {}, "protocol": {}}', "NaN"]
)
@pytest.mark.parametrize("name", ["metrics.json", "facts.json"])
def test_a_damaged_file_takes_out_its_run_alone(tmp_path, wide, capsys, name, text):
    file, root = finished_grid(tmp_path)
    (root / "ways" / "a-seed1-00000000" / name).write_text(text)
    assert compare(file, root=root) == 1
    assert re.search(rf"missing: a-seed1: finished, but .*{name} is gone or damaged; remove", capsys.readouterr().out)
    assert [arm["seeds"] for arm in comparison(root)["arms"]] == [[0], [0, 1], [0, 1]]


def test_a_score_that_is_no_number_takes_out_its_run_alone(tmp_path, wide, capsys, monkeypatch):
    monkeypatch.setitem(SCORES, "b", {0: 0.3, 1: float("nan")})
    file, root = finished_grid(tmp_path)
    assert compare(file, root=root) == 1
    assert "missing: b-seed1" in capsys.readouterr().out


def test_damaged_clips_are_left_out_of_the_picture(tmp_path, wide, capsys):
    file, root = finished_grid(tmp_path)
    (root / "ways" / "a-seed0-00000000" / "samples" / "clips.safetensors").write_bytes(b"xx")
    assert compare(file, root=root) == 0
    assert "not in the picture:" in capsys.readouterr().out
    assert (root / "ways" / "comparison.png").is_file()


def test_out_that_is_a_file_is_refused(tmp_path):
    file, root = finished_grid(tmp_path)
    with pytest.raises(UsageError, match="--out is .*base.yaml is a file"):
        compare(file, root=root, out=tmp_path / "base.yaml")


def test_unequal_sizes_are_warned_of(tmp_path, wide, capsys):
    file, root = finished_grid(tmp_path)
    compare(file, root=root)
    assert "Careful" not in capsys.readouterr().out  # 1100 against 1005
    odd = {f"a-seed{seed}": {"parameters": 1200} for seed in (0, 1)}
    file, root = finished_grid(tmp_path, odd=odd)
    compare(file, root=root)
    assert "Careful: a trains 1,200 parameters and c 1,005 (19% more)" in capsys.readouterr().out


def test_missing_runs_are_listed_and_the_grid_is_unfinished(tmp_path, wide, capsys):
    file, root = finished_grid(tmp_path, skip=("b-seed1", "c-seed0", "c-seed1"))
    assert compare(file, root=root) == 1
    page = comparison(root)
    assert [arm["name"] for arm in page["arms"]] == ["a", "b"]
    assert page["arms"][1]["metrics"]["mouth_correlation"]["std"] is None
    assert set(page["missing"]) == {"b-seed1", "c-seed0", "c-seed1"}
    text = capsys.readouterr().out
    assert "missing: b-seed1: pending at step 0 of 0" in text
    assert f"3 of 6 runs are missing; hallo3 ablate {file} --root {root} goes on with them" in text


def test_nothing_finished_writes_nothing(tmp_path, capsys):
    file, root = finished_grid(tmp_path, skip=tuple(f"{arm}-seed{seed}" for arm in "abc" for seed in (0, 1)))
    assert compare(file, root=root) == 1
    assert not (root / "ways" / "comparison.json").exists()


@pytest.mark.parametrize(
    ("how", "sentence"),
    [
        ({"protocol": "bbbb2222"}, r"different protocols .*tiny-v1 aaaa1111: .*a-seed0.*tiny-v1 bbbb2222: b-seed1"),
        ({"steps": 400}, r"different numbers of steps .*400: b-seed1"),
    ],
)
def test_what_cannot_be_compared_is_refused(tmp_path, how, sentence):
    file, root = finished_grid(tmp_path, odd={"b-seed1": how})
    with pytest.raises(UsageError, match=sentence):
        compare(file, root=root)


def test_notebook_page_and_picture(tmp_path, capsys):
    file, root = finished_grid(tmp_path)
    compare(file, root=root, out=tmp_path / "out")
    page = (tmp_path / "out" / "comparison.md").read_text()
    rows = [line for line in page.splitlines() if line.startswith("|")]
    assert len(rows) == 2 + 3 + 2  # headings, arms, control and ceiling
    assert len({line.count("|") for line in rows}) == 1
    assert "beats its shuffled audio control" in page
    with Image.open(tmp_path / "out" / "comparison.png") as picture:
        assert picture.width > picture.height > 300
        assert len(picture.convert("RGB").getcolors(10**7)) > 1000
    assert not (root / "ways" / "comparison.json").exists()


@pytest.mark.parametrize("width", [80, 200])
def test_no_number_is_cut_off_at_any_width(tmp_path, monkeypatch, capsys, width):
    monkeypatch.setenv("COLUMNS", str(width))
    file, root = finished_grid(tmp_path)
    compare(file, root=root)
    text = capsys.readouterr().out
    assert "…" not in text
    for words in ("0.550", "±0.071", "-0.500", "22.50", "1,100", "1 min 01 s"):
        assert words in text
    above = text[: text.index("a: 2 seeds" if width == 80 else "a beats")]
    assert max(map(len, above.splitlines())) <= width


def test_one_is_singular(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("COLUMNS", "80")
    file, root = finished_grid(tmp_path, seeds=[0], skip=("c-seed0",))
    compare(file, root=root)
    text = capsys.readouterr().out
    assert "a: 1 seed, 6 clips" in text
    assert "1 of 3 runs is missing" in text
