"""The report in a real browser, from a file: its videos play together, and it asks nothing of any network."""

import asyncio
import re
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest
from chromium import CHROMIUM, Page, opened
from finished import SCORES, finished_grid
from furnished import furnish, keep_clips

from hallo3_lightning.ablation.grid import read
from hallo3_lightning.ablation.places import places
from hallo3_lightning.ablation.report.write import report

pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(CHROMIUM is None, reason="no Chromium on this machine"),
]
METRICS = ("mouth correlation", "mouth lag", "identity distance", "temporal jitter", "seam", "psnr")
FRAMES = 40

TIMES = "[...document.querySelectorAll('video')].map(video => video.currentTime)"
PAUSED = "[...document.querySelectorAll('video')].map(video => video.paused)"
READY = "[...document.querySelectorAll('video')].every(video => video.readyState >= 3 && !video.seeking)"
NAMES = "[...document.querySelectorAll('table.scores tr.arm .name')].map(name => name.textContent)"
WIDTHS = "[document.documentElement.scrollWidth, document.documentElement.clientWidth]"


@pytest.fixture(scope="module")
def address(tmp_path_factory) -> str:
    file, root = finished_grid(tmp_path_factory.mktemp("report"), decide_by=["mouth_correlation"])
    for place in places(read(file), root):
        assert place.folder is not None
        shade = [*SCORES].index(place.run.arm.name)
        furnish(place.folder, shade)
        if place.run.seed == 0:
            keep_clips(place.folder, shade, frames=FRAMES, most=2)
    report(file, root=root, clips=2)
    return (root / "ways" / "report.html").as_uri()


def looked_at(address: str, profile: Path, look: Callable[[Page], Awaitable[None]]) -> None:
    async def looking() -> None:
        async with opened(address, profile) as page:
            await look(page)
            assert_quiet(page)

    asyncio.run(asyncio.wait_for(looking(), timeout=120))


def assert_quiet(page: Page) -> None:
    """Nothing was asked of a network, and nothing went wrong."""
    asked = [request["request"]["url"] for request in page.told("Network.requestWillBeSent")]
    assert {url.partition(":")[0] for url in asked} <= {"file", "data", "blob"}
    assert sum(url.startswith("file:") for url in asked) == 1
    for wrong in ("Log.entryAdded", "Runtime.exceptionThrown", "Runtime.consoleAPICalled"):
        assert page.told(wrong) == []


def apart(times: list[float]) -> float:
    return max(times) - min(times)


def test_videos_play_together_and_go_where_they_are_sent(address, tmp_path):
    async def look(page: Page) -> None:
        await page.until(READY)
        assert len(await page.value(TIMES)) == 2 + len(SCORES)
        await page.click("#play")
        await page.until(f"{TIMES}.every(time => time > 0.4)")
        times = await page.value(TIMES)
        assert apart(times) < 0.1, times
        assert await page.value(PAUSED) == [False] * 5
        await page.click("#play")
        assert await page.value(PAUSED) == [True] * 5
        await page.value("document.querySelector('#seek').value = 0.5")
        await page.value("void document.querySelector('#seek').dispatchEvent(new Event('input'))")
        await page.until(READY)
        assert await page.value(TIMES) == pytest.approx([FRAMES / 25 / 2] * 5, abs=0.05)
        cursors = "[...document.querySelectorAll('.spark:not([hidden]) .cursor')].map(cursor => cursor.style.left)"
        shares = [float(left.rstrip("%")) for left in await page.value(cursors)]
        assert shares == pytest.approx([50] * 5, abs=1)
        await page.click("#speed")
        assert await page.value("document.querySelector('video').playbackRate") == 0.5

    looked_at(address, tmp_path, look)


def test_one_video_sounds_and_another_clip_is_another_film(address, tmp_path):
    async def look(page: Page) -> None:
        await page.until(READY)
        sounding = "[...document.querySelectorAll('video')].map(video => !video.muted)"
        assert await page.value(sounding) == [True] + [False] * 4
        await page.click("#play")
        heard = "document.querySelector('video').webkitAudioDecodedByteCount"
        await page.until(f"{heard} > 0")
        await page.click("#mute")
        assert await page.value(sounding) == [False] * 5
        before = await page.value("[...document.querySelectorAll('video')].map(video => video.src)")
        await page.click("[data-clip='1']")
        await page.until(f"{TIMES}.every(time => time > 0.2)")
        after = await page.value("[...document.querySelectorAll('video')].map(video => video.src)")
        assert not set(before) & set(after)
        assert await page.value(PAUSED) == [False] * 5, "it goes on with the other clip"

    looked_at(address, tmp_path, look)


def test_every_arm_and_metric_is_seen_sorted_and_picked(address, tmp_path):
    async def look(page: Page) -> None:
        seen = await page.value("document.body.innerText")
        wanted = ["Which way?", *SCORES, *METRICS, "shuffled audio", "reconstruction", "0.550", "aaaa1111"]
        assert [word for word in wanted if word not in re.sub(r"\s+", " ", seen)] == []
        await page.click("[data-sort-by='1']")
        assert await page.value(NAMES) == ["a", "b", "c"]
        await page.click("[data-sort-by='1']")
        assert await page.value(NAMES) == ["c", "b", "a"]
        await page.click("[data-pick='1']")
        picked = "[...document.querySelectorAll('.is-picked')].every(part => part.dataset.arm === '1')"
        assert await page.value(picked)
        await page.until("getComputedStyle(document.querySelector('.screen[data-arm=\"0\"]')).opacity < 1")
        for width, is_phone in ((1280, False), (360, True)):
            await page.resize(width, 800, phone=is_phone)
            inside, outside = await page.value(WIDTHS)
            assert inside <= outside, f"the page is wider than a screen of {width}"

    looked_at(address, tmp_path, look)
