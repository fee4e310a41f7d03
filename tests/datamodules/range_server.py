"""A folder served by http with byte ranges on the loopback, its troubles made to order."""

import asyncio
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from aiohttp import web


@dataclass
class Server:
    """What it was asked, and what it is to answer."""

    url: str = ""
    asked: Counter[str] = field(default_factory=Counter)
    """By method and file name."""
    ranges: list[str] = field(default_factory=list)
    answers: list[int] = field(default_factory=list)
    """Statuses to answer the next GETs with, instead of what was asked for."""
    whole: bool = False
    """Send whole files, whatever range is asked for."""
    at_once: int = 0
    most_at_once: int = 0


@contextmanager
def serving(folder: Path, latency_s: float = 0.0) -> Iterator[Server]:
    """Serve the folder until the block ends."""
    server, loop = Server(), asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, daemon=True)
    thread.start()
    runner = asyncio.run_coroutine_threadsafe(_start(server, folder, latency_s), loop).result()
    try:
        yield server
    finally:
        asyncio.run_coroutine_threadsafe(runner.cleanup(), loop).result()
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()


async def _start(server: Server, folder: Path, latency_s: float) -> web.AppRunner:
    @web.middleware
    async def watched(request: web.Request, handler) -> web.StreamResponse:
        server.asked[f"{request.method} {request.path.rpartition('/')[2]}"] += 1
        server.at_once += 1
        server.most_at_once = max(server.most_at_once, server.at_once)
        try:
            await asyncio.sleep(latency_s)
            return await answer(request, handler)
        finally:
            server.at_once -= 1

    async def answer(request: web.Request, handler) -> web.StreamResponse:
        if request.method == "GET" and server.answers:
            status = server.answers.pop(0)
            if status != 200:
                return web.Response(status=status)
        if "Range" in request.headers:
            server.ranges.append(request.headers["Range"])
            if server.whole:
                return web.Response(body=(folder / request.path.lstrip("/")).read_bytes())
        return await handler(request)

    app = web.Application(middlewares=[watched])
    app.router.add_static("/", folder, show_index=True)
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    server.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
    return runner
