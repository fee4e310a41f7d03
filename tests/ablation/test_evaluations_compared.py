"""compare --protocol: evaluations of runs, with distances of sets from kept features, coverage, floors and stamps."""

import csv
import json
import shutil

import pytest
from evaluated import CLIPS, SET, SYNC, grid, stamped

from hallo3_lightning.ablation.compare import compare
from hallo3_lightning.ablation.comparison import compared
from hallo3_lightning.ablation.comparison_files import WRITERS
from hallo3_lightning.ablation.comparison_page import fact_lines, lines, sentences
from hallo3_lightning.ablation.grid import read
from hallo3_lightning.ablation.results import check_comparable, collect
from hallo3_lightning.ablation.set_distances import Features
from hallo3_lightning.backbones.published import NOT_A_SCORE
from hallo3_lightning.errors import UsageError
from hallo3_lightning.evaluation.distances import kernel

OFF = {"far": 1.0, "near": 0.2, "base": 0.6}


@pytest.fixture(scope="module")
def seen(tmp_path_factory):
    """Three arms that differ in sync and in how far they are from the real clips."""
    return grid(tmp_path_factory.mktemp("seen"), {"far": 3.0, "near": 6.0, "base": 4.5}, OFF)


@pytest.fixture(scope="module")
def page(seen):
    file, root, protocol = seen
    ways = read(file)
    return compared(ways, *collect(ways, root, protocol), draws=40)


def told(page: dict, arm: str, name: str) -> dict:
    return next(one for one in page["arms"] if one["name"] == arm)["metrics"][name]


def folder(root, run: str):
    return root / "asked" / f"{run}-00000000" / "evaluation" / "seen"


def test_scores_floors_ceiling_and_coverage(page):
    assert told(page, "near", SYNC)["mean"] == pytest.approx(6.4, abs=0.05)
    assert (told(page, "near", SYNC)["clips"], told(page, "near", SYNC)["coverage"]) == (9, 0.9)
    assert (told(page, "near", SET)["clips"], told(page, "near", SET)["coverage"]) == (10, 1.0)
    assert page["controls"]["floor"][SYNC]["mean"] == pytest.approx(1.045)
    assert page["controls"]["real"][SYNC]["mean"] == 7.0
    assert page["controls"]["real"][SET]["mean"] == pytest.approx(0.1)
    assert page["decide_by"] == [SYNC]
    shown = {line.label: line for line in lines(page)}
    assert shown["near"].cells[SYNC].coverage == "90 % scored"
    assert {"control: floor", "ceiling: real", "base *"} <= shown.keys()
    assert page["verdicts"][0]["best"] == "near"
    assert any(said.startswith("near beats its floor control in sync c/valid") for said in sentences(page))
    assert any("10 clips" in line for line in fact_lines(page))


def test_distances_of_sets_differ_by_what_their_features_do(seen, page):
    file, root, protocol = seen
    results = {result.name: result for result in collect(read(file), root, protocol)[0]}
    kept = {name: Features.of(result, SET) for name, result in results.items()}

    def distance(name: str) -> float:
        return kernel(kept[name].real.of(), kept[name].fake.of())

    for arm in ("near", "far"):
        gap = told(page, arm, SET)["difference"]
        by_hand = [distance(f"{arm}-seed{seed}") - distance(f"base-seed{seed}") for seed in (0, 1)]
        assert gap["mean"] == pytest.approx(sum(by_hand) / 2)
        assert gap["low"] < gap["mean"] < gap["high"]
        assert (gap["clips"], gap["seeds"], gap["draws"], gap["corrected_p"]) == (len(CLIPS), 2, 40, None)
    assert told(page, "near", SET)["difference"]["mean"] < 0 < told(page, "far", SET)["difference"]["mean"]
    assert told(page, "far", SET)["difference"]["p"] < 0.05  # hardly an exchange of clips is as far apart
    assert told(page, "far", SET)["std"] == 0


def test_equal_sets_are_not_called_different(tmp_path):
    file, root, protocol = grid(tmp_path, {"a": 5.0, "b": 5.0}, {"a": 0.4, "b": 0.4}, decide_by=[SET])
    ways = read(file)
    page = compared(ways, *collect(ways, root, protocol), draws=59)
    assert page["decide_by"] == [SET]
    assert told(page, "a", SET)["difference"]["corrected_p"] == 1.0
    assert page["verdicts"][0]["sentence"].startswith("No difference found between ")


def test_without_features_or_draws_there_is_the_value_alone(seen, tmp_path):
    file, root, protocol = seen
    ways = read(file)
    page = compared(ways, *collect(ways, root, protocol), draws=0)
    assert "difference" not in told(page, "far", SET)
    assert told(page, "far", SET)["mean"] == OFF["far"]
    copy = shutil.copytree(root, tmp_path / "runs")
    shutil.rmtree(folder(copy, "far-seed1") / "features")
    page = compared(ways, *collect(ways, copy, protocol), draws=20)
    assert "difference" not in told(page, "far", SET)
    assert "difference" in told(page, "near", SET)


def test_runs_that_are_not_evaluated_or_were_under_another_version_are_missing(seen, tmp_path):
    file, root, protocol = seen
    copy = shutil.copytree(root, tmp_path / "runs")
    shutil.rmtree(folder(copy, "far-seed1"))
    (folder(copy, "near-seed0") / "metrics.json").write_text("{")
    other = json.loads((folder(copy, "near-seed1") / "metrics.json").read_text())
    other["protocol"]["hash"] = "ffffffff"
    (folder(copy, "near-seed1") / "metrics.json").write_text(json.dumps(other))
    results, missing = collect(read(file), copy, protocol)
    assert [result.name for result in results] == ["far-seed0", "base-seed0", "base-seed1"]
    assert "not evaluated under seen; `hallo3 evaluate " in missing["far-seed1"]
    assert "is damaged" in missing["near-seed0"]
    assert "evaluated under seen as it was: ffffffff, and it is now seen v1" in missing["near-seed1"]
    with pytest.raises(UsageError, match=r"no protocol 'hallo3-v2'; did you mean 'hallo3-v1'\?"):
        collect(read(file), copy, "hallo3-v2")


def test_clips_that_were_generated_otherwise_are_refused(seen, tmp_path):
    file, root, protocol = seen
    copy = shutil.copytree(root, tmp_path / "runs")
    made = folder(copy, "far-seed1") / "generation.json"
    made.write_text(json.dumps({**json.loads(made.read_text()), "reuse": 0.1}))
    with pytest.raises(UsageError, match=r"different samplers or accelerations .*reuse 0.1: far-seed1"):
        check_comparable(read(file), collect(read(file), copy, protocol)[0])


def test_a_stamp_in_any_run_stands_on_every_output(seen, tmp_path, capsys):
    file, root, protocol = seen
    copy = shutil.copytree(root, tmp_path / "runs")
    stamped(folder(copy, "far-seed1"), NOT_A_SCORE)
    assert compare(file, root=copy, protocol=protocol, out=tmp_path / "out", draws=0, log=True) == 0
    for name, (ending, _) in WRITERS.items():
        assert NOT_A_SCORE in (tmp_path / "out" / f"comparison.{ending}").read_text(), name
    with (tmp_path / "out" / "comparison.csv").open() as table:
        assert all(NOT_A_SCORE in row["stamp"] for row in csv.DictReader(table))
    assert NOT_A_SCORE in capsys.readouterr().out.splitlines()[0]
    logged = (file.parents[1] / "LOG.md").read_text()
    assert NOT_A_SCORE in logged
    assert f"--protocol {protocol}`" in logged


def test_a_grid_names_its_protocol(seen, tmp_path):
    file, root, protocol = seen
    (file.parents[1] / "protocols").mkdir(exist_ok=True)
    shutil.copy(protocol, file.parents[1] / "protocols" / "seen.yaml")
    named = file.with_name("named.yaml")
    named.write_text(file.read_text() + "protocol: seen\n")
    (root / "named").mkdir()
    shutil.copy(root / "asked" / "grid.json", root / "named")
    (root / "named" / "grid.json").write_text(
        (root / "asked/grid.json").read_text().replace("asked.yaml", "named.yaml")
    )
    results, missing = collect(read(named), root)
    assert missing == {}
    assert all(SYNC in result.report["metrics"] for result in results)
