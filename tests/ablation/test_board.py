"""TensorBoard of a grid: read back from the event files, served, and looked at in a browser where there is one."""

import asyncio
import json
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest
from chromium import CHROMIUM, opened
from finished import SCORES, finished_grid
from PIL import Image
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.plugins.custom_scalar import layout_pb2
from tensorboard.plugins.hparams import metadata
from torch.utils.tensorboard import SummaryWriter

from hallo3_lightning import cli
from hallo3_lightning.ablation.board import write_board
from hallo3_lightning.ablation.grid import read
from hallo3_lightning.ablation.runs import RunFolder, Status

METRICS = ("mouth_correlation", "mouth_lag", "identity_distance", "temporal_jitter", "seam", "psnr")
RUNS = [f"{arm}-seed{seed}" for arm in SCORES for seed in (0, 1)]
UNFINISHED = "b-seed1"


def made(place: Path) -> tuple[Path, Path]:
    """One axis on two of the arms only, so that a careless writer would leave cells empty; curves in every run."""
    extra = {"c": {"model.audio": "c", "model.motion_frames": 4}}
    file, root = finished_grid(place, axes={"model.audio": ["a", "b"]}, arms=extra)
    for run in root.glob("ways/*-00000000"):
        curve(run, "train/loss", 1.0)
        (run / "curves.csv").write_text("step,name,value\n1,train/loss,1.0\n1,val/psnr,20.0\n1,torn")
    return file, root


def curve(run: Path, tag: str, value: float, step: int = 1) -> None:
    """One more event file of a run."""
    with SummaryWriter(str(run / "tensorboard")) as writer:
        writer.add_scalar(tag, value, step)


@pytest.fixture
def grid(tmp_path) -> tuple[Path, Path]:
    return made(tmp_path)


@pytest.fixture(scope="module")
def board(tmp_path_factory) -> Path:
    file, root = made(tmp_path_factory.mktemp("board"))
    return write_board(read(file), root)


def events(run: Path) -> EventAccumulator:
    return EventAccumulator(str(run), size_guidance={"images": 0}).Reload()


def hparams(run: Path, tag: str) -> bytes:
    return events(run).SummaryMetadata(tag).plugin_data.content


def test_every_run_declares_and_fills_every_axis_and_metric(board):
    runs = sorted(run for run in board.iterdir() if run.name != "truth")
    assert [run.name for run in runs] == RUNS
    for run in runs:
        experiment = metadata.parse_experiment_plugin_data(hparams(run, metadata.EXPERIMENT_TAG))
        start = metadata.parse_session_start_info_plugin_data(hparams(run, metadata.SESSION_START_INFO_TAG))
        declared = [info.name for info in experiment.hparam_infos]
        assert declared == ["arm", "seed", "model.audio", "model.motion_frames"]
        assert set(start.hparams) == set(declared)
        for info in experiment.hparam_infos:
            assert start.hparams[info.name] in list(info.domain_discrete.values)
        tags = [info.name.tag for info in experiment.metric_infos]
        assert tags == [f"final/{name}" for name in METRICS]
        assert set(events(run).Tags()["scalars"]) == {*tags, "train/loss"}


def test_values_are_those_of_the_run(board):
    scalar = events(board / "a-seed1").Scalars("final/mouth_correlation")
    assert [(event.step, event.value) for event in scalar] == [(500, pytest.approx(0.6))]
    start = metadata.parse_session_start_info_plugin_data(hparams(board / "c-seed1", metadata.SESSION_START_INFO_TAG))
    assert start.hparams["seed"].number_value == 1
    assert start.hparams["model.motion_frames"].string_value == "4"
    assert start.group_name == "c-seed1"


def test_curves_are_links_to_the_runs_own_files(board):
    links = [file for file in (board / "a-seed0").iterdir() if file.is_symlink()]
    assert len(links) == 1
    assert links[0].resolve().parent.parent.name == "a-seed0-00000000"
    ours = sorted(file.name for file in (board / "a-seed0").iterdir())
    assert ours.index(links[0].name) == 1  # settings sort before the run's own files, results after them


def test_charts_lie_over_each_other_and_clips_have_the_same_names(board):
    common = events(board / "truth")
    page = layout_pb2.Layout.FromString(common.Tensors("custom_scalars__config__")[0].tensor_proto.string_val[0])
    charts = {chart.title: [*chart.multiline.tag] for category in page.category for chart in category.chart}
    assert charts == {"train/loss": ["^train/loss$"], "val/psnr": ["^val/psnr$"]}
    names = {run: set(events(board / run).Tags()["images"]) for run in ("truth", "a-seed0", "c-seed1")}
    assert names == dict.fromkeys(names, {"clips/0", "clips/1"})
    shown = events(board / "a-seed0").Images("clips/1")[0]
    (board / "clip.gif").write_bytes(shown.encoded_image_string)
    with Image.open(board / "clip.gif") as clip:
        assert (clip.n_frames, clip.size) == (17, (24 * 7, 20 * 7))
    (board / "clip.gif").unlink()


def test_writing_again_changes_only_what_has_changed(grid):
    file, root = grid
    board = write_board(read(file), root)
    (board / "gone-seed0").mkdir()
    (board / "a-seed0" / "events.out.tfevents.1.of_before").touch()
    times = {path: path.lstat().st_mtime_ns for path in board.rglob("events*") if "before" not in path.name}
    metrics = root / "ways" / "a-seed0-00000000" / "metrics.json"
    metrics.write_text(metrics.read_text().replace("22.5", "23.5"))
    curve(root / "ways" / "b-seed0-00000000", "train/loss", 0.5, step=2)
    write_board(read(file), root)
    after = {path: path.lstat().st_mtime_ns for path in board.rglob("events*")}
    assert {path.parent.name for path in times.keys() ^ after.keys()} == {"a-seed0", "b-seed0"}
    assert all(after[path] == times[path] for path in times.keys() & after.keys())
    assert {run.name for run in board.iterdir()} == {*RUNS, "truth"}
    assert [event.value for event in events(board / "a-seed0").Scalars("final/psnr")] == [23.5]


def test_only_what_every_run_has_is_declared(grid):
    file, root = grid
    metrics = next((root / "ways").glob("b-seed1-*")) / "metrics.json"
    metrics.write_text(metrics.read_text().replace('"psnr"', '"ssim"'))
    board = write_board(read(file), root)
    for name in RUNS:
        experiment = metadata.parse_experiment_plugin_data(hparams(board / name, metadata.EXPERIMENT_TAG))
        assert [info.display_name for info in experiment.metric_infos] == [*METRICS[:-1]]


def test_before_any_run_is_finished_settings_and_curves_are_there_and_no_columns_are_fixed(tmp_path):
    file, root = finished_grid(tmp_path, skip=tuple(run for run in RUNS if run != "a-seed0"))
    run = root / "ways" / "a-seed0-00000000"
    RunFolder(run).record(Status("running", 3, 500))
    curve(run, "train/loss", 1.0)
    board = write_board(read(file), root)
    assert [place.name for place in board.iterdir() if place.name != "truth"] == ["a-seed0"]
    tags = events(board / "a-seed0").summary_metadata
    assert metadata.SESSION_START_INFO_TAG in tags
    assert metadata.EXPERIMENT_TAG not in tags


def test_mistakes(grid, tmp_path, capsys):
    file, root = grid
    assert cli.main(["board", str(file), "--root", str(root), "--port", "70000"]) == 2
    assert "--port is 70000; expected 0 (any free one) to 65535" in capsys.readouterr().err
    (tmp_path / "none").mkdir(exist_ok=True)
    assert cli.main(["board", str(file), "--root", str(tmp_path / "none"), "--no-serve"]) == 2
    assert "no run of" in capsys.readouterr().err
    assert cli.main(["board", str(file), "--root", str(root), "--no-serve"]) == 0
    assert "6 finished: " in capsys.readouterr().out


@pytest.fixture(scope="module")
def served(tmp_path_factory) -> Iterator[tuple[Path, Path, str]]:
    """Grid file, root and address of a board whose run UNFINISHED is still training."""
    file, root = made(tmp_path_factory.mktemp("served"))
    RunFolder(root / "ways" / f"{UNFINISHED}-00000000").record(Status("running", 3, 500))
    typed = [sys.executable, "-m", "hallo3_lightning.cli", "board", str(file), "--root", str(root), "--port", "0"]
    process = subprocess.Popen(typed, stdout=subprocess.PIPE, text=True)
    try:
        said = ""
        while "http://" not in said:
            line = process.stdout.readline()
            assert line, "the board ended"
            said += line
        assert "5 finished" in said
        yield file, root, said[said.index("http://") :].split()[0]
    finally:
        process.send_signal(signal.SIGINT)
        assert process.wait(timeout=30) == 0


def asked(address: str, place: str) -> object:
    with urllib.request.urlopen(f"{address}data/{place}", timeout=20) as answer:
        return json.loads(answer.read())


def awaited(address: str, place: str, words: str) -> str:
    """What is at a place, once the words are in it."""
    for _ in range(240):
        text = json.dumps(asked(address, place))
        if words in text:
            return text
        time.sleep(0.25)
    pytest.fail(f"{words} is not in {text}")


def test_a_run_that_goes_on_shows_up_while_the_board_is_served(served):
    _, root, address = served
    run = root / "ways" / f"{UNFINISHED}-00000000"
    awaited(address, "plugin/scalars/tags", f'"{UNFINISHED}"')
    assert "final/psnr" not in asked(address, "plugin/scalars/tags")[UNFINISHED]
    curve(run, "val/psnr", 21.0, step=3)
    RunFolder(run).record(Status("finished", 500, 500))
    text = awaited(address, "plugin/scalars/tags", '"val/psnr"')
    for _ in range(240):
        if "final/psnr" in asked(address, "plugin/scalars/tags")[UNFINISHED]:
            break
        time.sleep(0.25)
    else:
        pytest.fail(text)


def test_a_port_that_is_taken_is_said_to_be(served, capsys):
    file, root, address = served
    port = address.rstrip("/").rsplit(":", 1)[1]
    assert cli.main(["board", str(file), "--root", str(root), "--port", port]) == 2
    assert f"port {port}" in capsys.readouterr().err.lower()


@pytest.mark.browser
@pytest.mark.skipif(CHROMIUM is None, reason="no Chromium on this machine")
def test_the_page_shows_every_arm_and_metric(served, tmp_path):
    _, _, address = served
    page = asyncio.run(looked_at(f"{address}#hparams", tmp_path))
    wanted = (*METRICS, "model.audio", "model.motion_frames", *RUNS, "0.60000")
    assert [words for words in wanted if words not in page] == []


TEXT = """(function all(node) {
  return node.textContent + Array.from(node.querySelectorAll("*"), e => e.shadowRoot ? all(e.shadowRoot) : "").join(" ");
})(document.body)"""


async def looked_at(address: str, profile: Path) -> str:
    """All text of the page once the last run is in it, shadow roots included: TensorBoard hides its tables in them."""
    async with opened(address, profile) as page:
        await page.until(f"({TEXT}).includes({RUNS[-1]!r})", patience_s=60)
        return await page.value(TEXT)
