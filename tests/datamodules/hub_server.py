"""As much of the Hugging Face hub on the loopback as reading a data set asks for: `python hub_server.py FOLDER`.

Prints what is read of FOLDER through hf://, and the ranges that were asked of the server. A program of its own, as the
client reads its endpoint from the environment when it is imported.
"""

import asyncio
import json
import os
import sys
import threading
from pathlib import Path

from aiohttp import web

API, FILES = "/api/datasets/u/d", "/datasets/u/d/resolve/main/"


class Hub:
    """Data set u/d, whose files are those of a folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.ranges: list[str] = []

    async def answer(self, request: web.Request) -> web.StreamResponse:
        path = request.path
        if path.startswith(FILES):
            self.ranges.append(request.headers["Range"])
            return web.FileResponse(self.folder / path.removeprefix(FILES))
        if path.startswith(f"{API}/tree/main"):
            inside = self.folder / path.removeprefix(f"{API}/tree/main").strip("/")
            return web.json_response([self.told(file) for file in sorted(inside.iterdir()) if file.is_file()])
        if path == f"{API}/paths-info/main":
            wanted = [self.folder / name for name in (await request.post()).getall("paths")]
            return web.json_response([self.told(file) for file in wanted if file.is_file()])
        if path == API:
            return web.json_response({"id": "u/d", "sha": "0" * 40, "siblings": []})
        return web.Response(status=404)

    def told(self, file: Path) -> dict[str, object]:
        size = file.stat().st_size
        return {"type": "file", "path": str(file.relative_to(self.folder)), "size": size, "oid": f"{size:040x}"}


async def started(hub: Hub) -> int:
    app = web.Application()
    app.router.add_route("*", "/{path:.*}", hub.answer)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    return runner.addresses[0][1]


def main(folder: Path) -> None:
    hub, loop = Hub(folder), asyncio.new_event_loop()
    threading.Thread(target=loop.run_forever, daemon=True).start()
    port = asyncio.run_coroutine_threadsafe(started(hub), loop).result()
    os.environ |= {"HF_ENDPOINT": f"http://127.0.0.1:{port}", "HF_HUB_DISABLE_TELEMETRY": "1"}

    from datamodules.index import open_index
    from datamodules.remote_store import FsspecStore

    index = open_index("hf://datasets/u/d/one", cache=folder / "cache")
    local = open_index(folder / "one")
    said = {
        "equal": index.read_many(range(len(index))) == local.read_many(range(len(local))),
        "digests": [index.digest, local.digest],
        "names": FsspecStore("hf://datasets/u/d/one").names(),
        "tag": FsspecStore("hf://datasets/u/d/one").stat("a.tar").tag,
        "ranges": hub.ranges,
    }
    sys.stdout.write(json.dumps(said))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
