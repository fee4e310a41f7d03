"""TensorBoard's HParams: read back from the event files, and looked at in a browser where there is one."""

import asyncio
import shutil
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path

import pytest
from finished import SCORES, finished_grid
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.plugins.hparams import metadata

from hallo3_lightning.ablation.board import write_board
from hallo3_lightning.ablation.grid import read
from hallo3_lightning.ablation.results import collect

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
METRICS = ("mouth_correlation", "mouth_lag", "identity_distance", "temporal_jitter", "seam", "psnr")


@pytest.fixture
def board(tmp_path) -> Path:
    """One axis on two of the arms only, so that a careless writer would leave cells empty."""
    extra = {"c": {"model.audio": "c", "model.motion_frames": 4}}
    file, root = finished_grid(tmp_path, axes={"model.audio": ["a", "b"]}, arms=extra)
    return write(file, root)


def write(file: Path, root: Path) -> Path:
    grid = read(file)
    folder = grid.folder(root) / "tensorboard"
    write_board(grid, collect(grid, root)[0], folder)
    return folder


def events(run: Path) -> EventAccumulator:
    return EventAccumulator(str(run)).Reload()


def hparams(run: Path, tag: str) -> bytes:
    return events(run).SummaryMetadata(tag).plugin_data.content


def test_every_run_declares_and_fills_every_axis_and_metric(board):
    runs = sorted(board.iterdir())
    assert [run.name for run in runs] == [f"{arm}-seed{seed}" for arm in SCORES for seed in (0, 1)]
    for run in runs:
        experiment = metadata.parse_experiment_plugin_data(hparams(run, metadata.EXPERIMENT_TAG))
        start = metadata.parse_session_start_info_plugin_data(hparams(run, metadata.SESSION_START_INFO_TAG))
        declared = [info.name for info in experiment.hparam_infos]
        assert declared == ["arm", "seed", "model.audio", "model.motion_frames"]
        assert set(start.hparams) == set(declared)
        for info in experiment.hparam_infos:
            value = start.hparams[info.name]
            assert value in list(info.domain_discrete.values)
        tags = [info.name.tag for info in experiment.metric_infos]
        assert tags == [f"final/{name}" for name in METRICS]
        assert set(events(run).Tags()["scalars"]) == set(tags)


def test_values_are_those_of_the_run(board):
    scalar = events(board / "a-seed1").Scalars("final/mouth_correlation")
    assert [(event.step, event.value) for event in scalar] == [(500, pytest.approx(0.6))]
    start = metadata.parse_session_start_info_plugin_data(hparams(board / "c-seed1", metadata.SESSION_START_INFO_TAG))
    assert start.hparams["seed"].number_value == 1
    assert start.hparams["model.motion_frames"].string_value == "4"
    assert start.group_name == "c-seed1"


def test_writing_again_replaces(board, tmp_path):
    (board / "gone-seed0").mkdir()
    write(tmp_path / "grids" / "ways.yaml", tmp_path / "runs")
    assert not (board / "gone-seed0").exists()
    assert all(len(list(run.iterdir())) == 1 for run in board.iterdir())
    assert len(events(board / "a-seed0").Scalars("final/psnr")) == 1


def test_only_what_every_run_has_is_declared(tmp_path):
    file, root = finished_grid(tmp_path)
    metrics = next((root / "ways").glob("b-seed1-*")) / "metrics.json"
    metrics.write_text(metrics.read_text().replace('"psnr"', '"ssim"'))
    for run in write(file, root).iterdir():
        experiment = metadata.parse_experiment_plugin_data(hparams(run, metadata.EXPERIMENT_TAG))
        assert [info.display_name for info in experiment.metric_infos] == [*METRICS[:-1]]


@pytest.mark.browser
@pytest.mark.skipif(CHROMIUM is None, reason="no Chromium on this machine")
def test_the_page_shows_every_arm_and_metric(board):
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    where = ["--logdir", str(board), "--host", "127.0.0.1", "--port", str(port), "--load_fast", "false"]
    server = subprocess.Popen([sys.executable, "-m", "tensorboard.main", *where], stderr=subprocess.DEVNULL)
    try:
        wait_for(f"http://127.0.0.1:{port}/data/plugin/hparams/download_data", server)
        page = looked_at(f"http://127.0.0.1:{port}/#hparams", board.parent, awaited="c-seed1")
    finally:
        server.terminate()
        server.wait()
    runs = [f"{arm}-seed{seed}" for arm in SCORES for seed in (0, 1)]
    assert [
        words for words in (*METRICS, "model.audio", "model.motion_frames", *runs, "0.60000") if words not in page
    ] == []


def wait_for(address: str, server: subprocess.Popen) -> None:
    for _ in range(150):
        assert server.poll() is None, "tensorboard ended"
        try:
            urllib.request.urlopen(address, timeout=2).close()
        except urllib.error.HTTPError:
            return
        except OSError:
            time.sleep(0.2)
        else:
            return
    pytest.fail("tensorboard did not answer")


def looked_at(address: str, folder: Path, awaited: str) -> str:
    """All text of the page once `awaited` is in it, shadow roots included: TensorBoard hides its tables in them."""
    profile = folder / "browser"
    options = ["--headless", "--no-sandbox", "--disable-gpu", "--window-size=1600,900", "--remote-debugging-port=0"]
    browser = subprocess.Popen([CHROMIUM, *options, f"--user-data-dir={profile}", address], stderr=subprocess.DEVNULL)
    try:
        return asyncio.run(asyncio.wait_for(_text(profile / "DevToolsActivePort", awaited), timeout=60))
    finally:
        browser.terminate()
        browser.wait()


TEXT = """(function all(node) {
  return node.textContent + Array.from(node.querySelectorAll("*"), e => e.shadowRoot ? all(e.shadowRoot) : "").join(" ");
})(document.body)"""


async def _text(port_file: Path, awaited: str) -> str:
    aiohttp = pytest.importorskip("aiohttp")
    while not port_file.is_file() or not port_file.read_text():
        await asyncio.sleep(0.1)
    port = port_file.read_text().splitlines()[0]
    async with aiohttp.ClientSession() as session:
        async with session.get(f"http://127.0.0.1:{port}/json/list") as answer:
            pages = [page for page in await answer.json() if page["type"] == "page"]
        async with session.ws_connect(pages[0]["webSocketDebuggerUrl"], max_msg_size=0) as devtools:
            question = {"id": 1, "method": "Runtime.evaluate", "params": {"expression": TEXT}}
            text = ""
            while awaited not in text:
                await asyncio.sleep(0.3)
                await devtools.send_json(question)
                text = (await devtools.receive_json())["result"]["result"].get("value", "")
            return text
