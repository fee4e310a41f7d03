"""`hallo3 app` as its users meet it, in a real browser: films, a stop, a mistake, and two arms side by side."""

import asyncio
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from urllib.error import URLError
from urllib.request import urlopen

import numpy as np
import pytest
import soundfile
import yaml
from PIL import Image

from datamodules.index import open_index
from hallo3_lightning.ablation.grid import read
from hallo3_lightning.ablation.places import write_places
from tests.ablation.chromium import CHROMIUM, Page, opened
from tests.behaviour.studio import ROOT, Studio

pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(CHROMIUM is None, reason="no Chromium on this machine"),
]

SECONDS = 2.3
FRAMES = 58
ARMS = ("adaln", "cross_attention")

VIDEOS = "[...document.querySelectorAll('#films video')]"
DURATIONS = f"{VIDEOS}.map(video => video.duration)"
STATUS = "document.querySelector('#status').innerText"
CHOSEN = "[...document.querySelectorAll('#weights .token')].map(token => token.innerText.trim())"


@dataclass(frozen=True)
class Stage:
    """A served page, and what is put into it."""

    address: str
    portrait: Path
    speech: Path
    text: Path
    sample: str


@pytest.fixture(scope="module")
def stage(studio, identity, tmp_path_factory) -> Iterator[Stage]:
    folder = tmp_path_factory.mktemp("stage")
    draws = np.random.default_rng(0)
    Image.fromarray(draws.integers(0, 255, (48, 40, 3), np.uint8)).save(folder / "portrait.png")
    soundfile.write(folder / "speech.wav", draws.uniform(-0.3, 0.3, round(SECONDS * 16_000)), 16_000)
    (folder / "notes.txt").write_text("no picture at all")
    launch_two_arms(studio, folder)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    typed = ["app", "--runs", str(studio.folder / "runs"), "--port", str(port), "--no-browser"]
    served = subprocess.Popen([sys.executable, "-m", "hallo3_lightning.cli", *typed], cwd=ROOT)
    try:
        address = f"http://127.0.0.1:{port}/"
        wait_for(address, served)
        sample = f"{studio.folder / 'shards'}:held_out/{open_index(studio.folder / 'shards/held_out').key(0)}"
        yield Stage(address, folder / "portrait.png", folder / "speech.wav", folder / "notes.txt", sample)
    finally:
        served.send_signal(signal.SIGINT)
        assert served.wait(30) == 0


def launch_two_arms(studio: Studio, folder: Path) -> None:
    """A grid of two finished runs."""
    page = {"question": "Which?", "base": [str(ROOT / "experiments/tiny/audio.yaml")], "seeds": [0]}
    (folder / "two.yaml").write_text(yaml.safe_dump({**page, "axes": {"model.audio": [*ARMS]}}))
    grid = read(folder / "two.yaml")
    runs = {run.name: studio.run("fit", *studio.audio, f"--model.audio={run.arm.name}").path for run in grid.runs()}
    write_places(grid, studio.folder / "runs", runs, [])


def wait_for(address: str, served: "subprocess.Popen[bytes]") -> None:
    deadline = time.monotonic() + 60
    while served.poll() is None and time.monotonic() < deadline:
        try:
            urlopen(address).close()
        except URLError:
            time.sleep(0.1)
        else:
            return
    raise AssertionError(f"no page at {address}")


def looked_at(stage: Stage, profile: Path, look: Callable[[Page], Awaitable[None]]) -> None:
    async def looking() -> None:
        async with opened(stage.address, profile) as page:
            await page.until(f"document.querySelector('#image input[type=file]') && {CHOSEN}.length > 0")
            await look(page)
            assert_quiet(page, stage.address)

    asyncio.run(asyncio.wait_for(looking(), timeout=150))


def assert_quiet(page: Page, address: str) -> None:
    """Nothing was asked of any other machine, nor kept from being asked, and no script failed."""
    asked = {request["request"]["url"] for request in page.told("Network.requestWillBeSent")}
    assert {url for url in asked if not url.startswith((address, "data:", "blob:"))} == set()
    assert page.told("Runtime.exceptionThrown") == []


async def put(page: Page, field: str, file: Path) -> None:
    """Choose a file, and wait until the page has it."""
    answer = await page.ask("Runtime.evaluate", expression=f"document.querySelector('#{field} input[type=file]')")
    await page.ask("DOM.setFileInputFiles", files=[str(file)], objectId=answer["result"]["objectId"])
    await page.until(f"document.querySelector('#{field}').innerText.includes({file.suffix!r})")


async def fill(page: Page, selector: str, text: str) -> None:
    await page.click(selector)
    await page.ask("Input.insertText", text=text)


async def unfold(page: Page, title: str) -> None:
    folds = "[...document.querySelectorAll('button.label-wrap')]"
    await page.value(f"void {folds}.find(fold => fold.innerText.includes({title!r})).click()")


async def choose_grid(page: Page, name: str) -> None:
    await page.click("#grid input")
    await page.until("document.querySelector('[role=listbox] [role=option]') !== null")
    await page.value("document.querySelector('#grid input').select()")
    await page.ask("Input.insertText", text=name)
    for kind in ("keyDown", "keyUp"):
        await page.ask("Input.dispatchKeyEvent", type=kind, key="Enter", code="Enter", windowsVirtualKeyCode=13)


def test_a_portrait_and_speech_become_a_film_with_progress(stage, tmp_path):
    async def look(page: Page) -> None:
        await put(page, "image", stage.portrait)
        await put(page, "audio", stage.speech)
        await unfold(page, "sampling")
        await page.until("document.querySelector('#option-steps textarea, #option-steps input') !== null")
        await fill(page, "#option-steps textarea, #option-steps input", "40")
        await page.click("#start")
        await page.until("document.querySelector('#progress')?.value > 0", patience_s=60)
        assert await page.value("document.querySelector('#progress').max") == FRAMES
        await page.until(f"{DURATIONS}.length == 1 && {DURATIONS}[0] > 0", patience_s=60)
        assert (await page.value(DURATIONS))[0] == pytest.approx(SECONDS, abs=0.1)
        told = await page.value(STATUS)
        assert f"{FRAMES} frames" in told
        assert "40 steps" in told
        await page.click("#start")  # the same request finds its film
        await page.until(f"{STATUS}.includes('is finished already')", patience_s=60)
        assert len(await page.value(DURATIONS)) == 1

    looked_at(stage, tmp_path, look)


def test_a_sample_of_shards_speaks_in_place_of_a_picture_and_the_page_says_how_long_it_takes_yet(stage, tmp_path):
    async def look(page: Page) -> None:
        await fill(page, "#sample textarea, #sample input", stage.sample)
        await put(page, "audio", stage.speech)
        await unfold(page, "sampling")
        await page.until("document.querySelector('#option-steps textarea, #option-steps input') !== null")
        await fill(page, "#option-steps textarea, #option-steps input", "91")
        await page.click("#start")
        await page.until(f"/ of {FRAMES} frames, about [0-9]+ s left/.test({STATUS})", patience_s=60)
        await page.until(f"{DURATIONS}.length == 1 && {DURATIONS}[0] > 0", patience_s=60)
        assert "the whole picture counts as face" not in await page.value(STATUS)

    looked_at(stage, tmp_path, look)


def test_stop_leaves_what_was_made_and_the_same_request_goes_on(stage, tmp_path):
    async def look(page: Page) -> None:
        await put(page, "image", stage.portrait)
        await put(page, "audio", stage.speech)
        await unfold(page, "sampling")
        await page.until("document.querySelector('#option-steps textarea, #option-steps input') !== null")
        await fill(page, "#option-steps textarea, #option-steps input", "90")
        await page.click("#start")
        await page.until("document.querySelector('#progress')?.value > 0", patience_s=60)
        await page.click("#stop")
        await page.until(f"{STATUS}.includes('stopped behind frame')")
        frames = int(re.findall(r"behind frame (\d+)", await page.value(STATUS))[0])
        assert 0 < frames < FRAMES
        await page.until(f"{DURATIONS}[0] > 0")
        await page.click("#start")
        await page.until(f"{STATUS}.includes('going on behind frame {frames}')", patience_s=60)
        await page.until(f"Math.abs({DURATIONS}[0] - {SECONDS}) < 0.1")

    looked_at(stage, tmp_path, look)


def test_a_wrong_file_is_one_sentence_and_no_film(stage, tmp_path):
    async def look(page: Page) -> None:
        await page.click("#start")
        await page.until(f"{STATUS}.includes('there is no portrait; choose a picture,')")
        await put(page, "image", stage.text)
        await put(page, "audio", stage.speech)
        await page.click("#start")
        await page.until(f"{STATUS}.includes('no picture that Pillow can read')", patience_s=60)
        assert "Traceback" not in await page.value(STATUS)
        assert await page.value(DURATIONS) == []

    looked_at(stage, tmp_path, look)


def test_arms_of_a_grid_stand_side_by_side_and_play_together(stage, tmp_path):
    async def look(page: Page) -> None:
        await put(page, "image", stage.portrait)
        await put(page, "audio", stage.speech)
        await page.resize(1280, 900)
        await choose_grid(page, "two")
        await page.until(f"{CHOSEN}.length == {len(ARMS)}")
        await page.click("#start")
        await page.until(f"{DURATIONS}.filter(duration => duration > 0).length == {len(ARMS)}", patience_s=90)
        tops = await page.value(f"{VIDEOS}.map(video => video.getBoundingClientRect().top)")
        assert tops[0] == tops[1]
        names = await page.value("[...document.querySelectorAll('#films figcaption')].map(name => name.innerText)")
        assert [name.partition("-")[0] for name in names] == [*ARMS]
        await page.click("#play")
        await page.until(f"{VIDEOS}.every(video => video.currentTime > 0.3)")

    looked_at(stage, tmp_path, look)


def test_the_page_is_for_this_machine_alone_and_may_ask_no_other(stage):
    with urlopen(stage.address) as answer:
        assert answer.headers["content-security-policy"].startswith("default-src 'self'")
    with pytest.raises(ConnectionRefusedError):  # of loopback too, but no address that was named
        socket.create_connection(("127.0.0.2", int(stage.address.rpartition(":")[2].strip("/"))))
