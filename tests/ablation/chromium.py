"""Headless Chromium over its DevTools protocol: opened on a page, asked, clicked, and looked at."""

import asyncio
import base64
import itertools
import shutil
import subprocess
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
OPTIONS = ("--headless", "--no-sandbox", "--disable-gpu", "--mute-audio", "--remote-debugging-port=0")


class Page:
    """One open page. `events` are what it told unasked, in order."""

    def __init__(self, devtools: aiohttp.ClientWebSocketResponse) -> None:
        self.devtools = devtools
        self.events: list[dict[str, Any]] = []
        self._numbers = itertools.count(1)
        self._answers: dict[int, asyncio.Future] = {}

    async def listen(self) -> None:
        async for message in self.devtools:
            told = message.json()
            if "id" in told:
                self._answers.pop(told["id"]).set_result(told)
            else:
                self.events.append(told)

    async def ask(self, method: str, **params: Any) -> dict[str, Any]:
        number = next(self._numbers)
        self._answers[number] = asyncio.get_running_loop().create_future()
        await self.devtools.send_json({"id": number, "method": method, "params": params})
        answer = await asyncio.wait_for(self._answers[number], timeout=30) if number in self._answers else {}
        assert "error" not in answer, answer
        return answer["result"]

    async def open(self, address: str) -> None:
        for domain in ("Page", "Network", "Runtime", "Log"):
            await self.ask(f"{domain}.enable")
        await self.ask("Page.navigate", url=address)
        while not self.told("Page.loadEventFired"):
            await asyncio.sleep(0.05)

    def told(self, method: str) -> list[dict[str, Any]]:
        """Parameters of all events of a kind."""
        return [event["params"] for event in self.events if event["method"] == method]

    async def value(self, expression: str) -> Any:
        """Of an expression, awaited where it is a promise."""
        answer = await self.ask("Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True)
        assert "exceptionDetails" not in answer, answer["exceptionDetails"]
        return answer["result"].get("value")

    async def until(self, expression: str, patience_s: float = 20) -> None:
        """Wait for an expression to be true."""
        async with asyncio.timeout(patience_s):
            while not await self.value(expression):
                await asyncio.sleep(0.05)

    async def click(self, selector: str) -> None:
        """With a real mouse, in the middle of the first such element."""
        middle = f"""(() => {{
            const part = document.querySelector({selector!r});
            part.scrollIntoView({{block: "center", behavior: "instant"}});
            const box = part.getBoundingClientRect();
            return [box.left + box.width / 2, box.top + box.height / 2];
        }})()"""
        x, y = await self.value(middle)
        for kind in ("mousePressed", "mouseReleased"):
            await self.ask("Input.dispatchMouseEvent", type=kind, x=x, y=y, button="left", clickCount=1)

    async def resize(self, width: int, height: int, phone: bool = False, dark: bool = False) -> None:
        shape = {"width": width, "height": height, "deviceScaleFactor": 2 if phone else 1, "mobile": phone}
        await self.ask("Emulation.setDeviceMetricsOverride", **shape)
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        await self.ask("Emulation.setEmulatedMedia", features=[scheme])

    async def picture(self, path: Path) -> None:
        """PNG of the whole page."""
        shot = await self.ask("Page.captureScreenshot", format="png", captureBeyondViewport=True)
        path.write_bytes(base64.b64decode(shot["data"]))


@asynccontextmanager
async def opened(address: str, profile: Path) -> AsyncIterator[Page]:
    """The page at an address, loaded, in a browser of its own."""
    assert CHROMIUM is not None
    browser = subprocess.Popen(
        [CHROMIUM, *OPTIONS, f"--user-data-dir={profile}", "about:blank"], stderr=subprocess.DEVNULL
    )
    try:
        port_file = profile / "DevToolsActivePort"
        async with asyncio.timeout(60):
            while not port_file.is_file() or not port_file.read_text():
                await asyncio.sleep(0.05)
        port = port_file.read_text().splitlines()[0]
        async with aiohttp.ClientSession() as session:
            async with session.get(f"http://127.0.0.1:{port}/json/list") as answer:
                pages = [page for page in await answer.json() if page["type"] == "page"]
            async with session.ws_connect(pages[0]["webSocketDebuggerUrl"], max_msg_size=0) as devtools:
                page = Page(devtools)
                listening = asyncio.create_task(page.listen())
                await page.open(address)
                yield page
                listening.cancel()
    finally:
        browser.terminate()
        browser.wait()
