"""The comparison of finished runs, with numbers worked out by hand."""

import json
import re
import resource
from dataclasses import replace

import pytest
import yaml
from finished import SCORES, finished_grid
from PIL import Image

from hallo3_lightning.ablation.compare import compare
from hallo3_lightning.ablation.comparison import compared
from hallo3_lightning.ablation.comparison_page import sentences
from hallo3_lightning.ablation.grid import read
from hallo3_lightning.ablation.picture import draw
from hallo3_lightning.ablation.results import check_comparable, collect
from hallo3_lightning.errors import UsageError
from hallo3_lightning.evaluation.student import quantile


def comparison(root):
    return json.loads((root / "ways" / "comparison.json").read_text())


def said(file, root) -> str:
    """What a comparison says in words."""
    grid = read(file)
    return "\n".join(sentences(compared(grid, *collect(grid, root))))


@pytest.fixture
def wide(monkeypatch):
    monkeypatch.setenv("COLUMNS", "200")


def test_means_and_spreads_over_seeds(tmp_path, wide, capsys):
    file, root = finished_grid(tmp_path)
    assert compare(file, root=root) == 0
    page = comparison(root)
    assert [arm["name"] for arm in page["arms"]] == ["a", "b", "c"]
    first = page["arms"][0]
    # variances of the mean: 0.002 over six clips, 0.0025 over two seeds; 1.54 degrees of freedom, t = 5.9
    reach = quantile(0.975, 0.0045**2 / (0.002**2 / 5 + 0.0025**2)) * 0.0045**0.5
    assert first["settings"] == {"model.audio": "a"}
    assert first["seeds"] == [0, 1]
    assert first["metrics"]["mouth_correlation"] == {
        "mean": pytest.approx(0.55),
        "std": pytest.approx(0.0707, abs=1e-4),
        "n": 2,
        "values": [0.5, 0.6],
        "clips": 6,
        "coverage": 1.0,
        "low": pytest.approx(0.55 - reach, abs=1e-3),
        "high": pytest.approx(0.55 + reach, abs=1e-3),
        "unit": "correlation",
        "higher_is_better": True,
        "difference": first["metrics"]["mouth_correlation"]["difference"],
        "mark": "best",
        "target": None,
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


@pytest.mark.parametrize(
    ("scores", "words"),
    [
        ((0.0, 0.01, 0.02), "No arm beats its shuffled audio control in mouth correlation: how they differ there says"),
        (
            (-0.9, -0.5, -0.7),
            "No arm beats its shuffled audio control in mouth correlation: how they differ there says",
        ),
        ((0.5, 0.3, 0.0), "a is best in mouth correlation"),
    ],
)
def test_the_verdict_says_first_that_no_arm_beats_its_control(tmp_path, monkeypatch, scores, words):
    for arm, score in zip("abc", scores, strict=True):
        monkeypatch.setitem(SCORES, arm, {0: score, 1: score + 0.001})
    file, root = finished_grid(tmp_path, odd={f"{arm}-seed{seed}": {"clips": 20} for arm in "abc" for seed in (0, 1)})
    grid = read(file)
    verdict = compared(grid, *collect(grid, root))["verdicts"][0]
    assert verdict["sentence"].startswith(words)
    assert verdict["beat_control"] == [arm for arm, score in zip("abc", scores, strict=True) if score > 0.1]


def test_a_ceiling_is_no_control(tmp_path):
    file, root = finished_grid(tmp_path)
    for page in root.glob("ways/*/metrics.json"):
        report = json.loads(page.read_text())
        del report["rows"]["shuffled_audio"]
        page.write_text(json.dumps({**report, "rows": {**report["rows"], "real": report["rows"]["reconstruction"]}}))
    found = compared(read(file), *collect(read(file), root))
    assert [arm["above_control"] for arm in found["arms"]] == [{}, {}, {}]
    assert found["verdicts"][0]["beat_control"] is None


def test_a_difference_of_distances_is_called_one(tmp_path, monkeypatch):
    """b is nearer to 0 than a: less by 0.2 in distance, more by 0.2 in what stands above."""
    file, root = finished_grid(tmp_path, axes={"model.audio": ["a", "b"]})
    for page in root.glob("ways/a-*/metrics.json"):
        page.write_text(page.read_text().replace("-0.5", "-0.7"))
    compare(file, root=root)
    row = next(line for line in (root / "ways" / "comparison.md").read_text().splitlines() if line.startswith("| a |"))
    assert "| -0.700 ±0.000<br>+0.200 off target " in row


def test_a_full_disk_leaves_the_picture_that_was_there(tmp_path):
    """A limit on the size of files stands in for the disk's."""
    file, root = finished_grid(tmp_path)
    out = tmp_path / "out" / "comparison.png"
    results = collect(read(file), root)[0]
    draw(read(file), results, out)
    before, limits = out.read_bytes(), resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, limits[1]))
    try:
        with pytest.raises(OSError, match="comparison.png") as caught:
            draw(read(file), results, out)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert caught.value.filename == str(out)
    assert out.read_bytes() == before
    assert [left.name for left in out.parent.iterdir()] == ["comparison.png"]


def test_a_score_below_the_control_is_said(tmp_path, monkeypatch):
    monkeypatch.setitem(SCORES, "c", {0: -0.5, 1: -0.6})
    words = "c falls below its shuffled audio control in mouth correlation by 6.1 standard errors"
    assert words in said(*finished_grid(tmp_path))


def test_seeds_that_did_not_learn_are_named(tmp_path, monkeypatch):
    monkeypatch.setitem(SCORES, "b", {0: 0.9, 1: 0.01})
    text = said(*finished_grid(tmp_path))
    assert "b beats its" in text
    assert "Careful: b-seed1 does not beat the control in mouth correlation, 1 other seed of b did." in text
    assert text.count("Careful") == 1  # c learned with no seed, a with both


@pytest.mark.parametrize(
    "text", ["", "{", "[]", "{}", '{"metrics": 1, "controls": {}, "rows": {}, "protocol": {}}', "NaN"]
)
@pytest.mark.parametrize("name", ["metrics.json", "facts.json"])
def test_a_damaged_file_takes_out_its_run_alone(tmp_path, name, text):
    file, root = finished_grid(tmp_path)
    (root / "ways" / "a-seed1-00000000" / name).write_text(text)
    results, missing = collect(read(file), root)
    assert [result.name for result in results] == ["a-seed0", "b-seed0", "c-seed0", "b-seed1", "c-seed1"]
    assert [*missing] == ["a-seed1"]
    assert re.search(rf"^finished, but .*{name} is gone or damaged; remove", missing["a-seed1"])


def test_a_score_that_is_no_number_takes_out_its_run_alone(tmp_path, monkeypatch):
    monkeypatch.setitem(SCORES, "b", {0: 0.3, 1: float("nan")})
    file, root = finished_grid(tmp_path)
    results, missing = collect(read(file), root)
    assert [*missing] == ["b-seed1"]
    assert [arm["seeds"] for arm in compared(read(file), results, missing)["arms"]] == [[0, 1], [0], [0, 1]]


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


def test_unequal_sizes_are_warned_of(tmp_path):
    file, root = finished_grid(tmp_path)
    assert "Careful" not in said(file, root)  # 1100 against 1060
    file, root = finished_grid(tmp_path, odd={f"a-seed{seed}": {"parameters": 1120} for seed in (0, 1)})
    assert "Careful: a trains 1,120 parameters and c 1,060 (6% more)" in said(file, root)


def test_missing_runs_are_listed_and_the_grid_is_unfinished(tmp_path, wide, capsys):
    file, root = finished_grid(tmp_path, skip=("b-seed1", "c-seed0", "c-seed1"))
    assert compare(file, root=root) == 1
    page = comparison(root)
    assert [arm["name"] for arm in page["arms"]] == ["a", "b"]
    assert page["arms"][1]["metrics"]["mouth_correlation"]["std"] is None
    assert set(page["missing"]) == {"b-seed1", "c-seed0", "c-seed1"}
    text = capsys.readouterr().out
    assert "missing: b-seed1: pending at step 0 of 0" in text
    assert f"3 of 6 runs are missing; hallo3 ablate {file} --root {root} goes on with what is not trained" in text


def test_nothing_finished_writes_nothing(tmp_path, capsys):
    file, root = finished_grid(tmp_path, skip=tuple(f"{arm}-seed{seed}" for arm in "abc" for seed in (0, 1)))
    assert compare(file, root=root) == 1
    assert not (root / "ways" / "comparison.json").exists()
    with pytest.raises(UsageError, match=r"no run of .*ways.yaml is finished: there is nothing to log"):
        compare(file, root=root, log=True)
    assert not (tmp_path / "LOG.md").exists()


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


def test_other_samplers_and_precisions_are_refused_unless_the_arms_choose_them(tmp_path):
    file, root = finished_grid(tmp_path)
    for number, run in enumerate(sorted((root / "ways").glob("?-seed?-*"))):
        sampling = {"sampler": "ddim", "steps": 12 if number else 8}
        (run / "config.yaml").write_text(yaml.safe_dump({"model": {"sampling": sampling}, "trainer": {}}))
    ways = read(file)
    with pytest.raises(UsageError, match=r"different samplers .*: model.sampling.steps 8: a-seed0; model.sampling"):
        check_comparable(ways, collect(ways, root)[0])
    chosen = {"a": {"model.sampling.steps": 8}, "b": {"model.sampling.steps": 12}, "c": {"model.audio": "c"}}
    file, _ = finished_grid(tmp_path, axes={}, arms=chosen)
    results = collect(read(file), root)[0]
    check_comparable(read(file), results)
    steps = {"a": 8, "b": 12, "c": 12}
    own = {r.name: {"id": "tiny-v1", "hash": r.name, "sampler_steps": steps[r.arm], "frames": 17} for r in results}
    check_comparable(read(file), [replace(r, report={**r.report, "protocol": own[r.name]}) for r in results])
    own["c-seed0"]["frames"] = 33
    with pytest.raises(UsageError, match=r"different protocols .*frames 33: c-seed0"):
        check_comparable(read(file), [replace(r, report={**r.report, "protocol": own[r.name]}) for r in results])


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
