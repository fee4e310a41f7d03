"""The page's server: for this machine alone unless told otherwise, and without a word to any other."""

import argparse
import os
import signal
import socket
import sys
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console

from hallo3_lightning.app.candidates import Candidates
from hallo3_lightning.app.options import options_of
from hallo3_lightning.errors import UsageError

if TYPE_CHECKING:
    from gradio import Blocks

POLICY = "default-src 'self' data: blob: 'unsafe-inline' 'unsafe-eval'; frame-ancestors 'none'; form-action 'self'"
"""What a browser is told: the page may ask nobody but the server it came from."""

QUIET = {"GRADIO_ANALYTICS_ENABLED": "False", "HF_HUB_DISABLE_TELEMETRY": "1", "GRADIO_SHARE": "False"}


def serve(
    animate: argparse.ArgumentParser,
    runs: Path,
    weights: Sequence[Path],
    *,
    host: str = "127.0.0.1",
    port: int | None = None,
    browse: bool = True,
) -> int:
    """Show the page until Ctrl-C. animate: the parser whose options it has. port: 7860 or the next free one for None.

    Raises UsageError where gradio is not installed, there is nothing to animate with, or the port is taken.
    """
    candidates = Candidates(runs, weights)
    _check(candidates)
    _check_address(host, port)
    films = (runs / "films").absolute()
    _prepare(films)
    from hallo3_lightning.app.page import Page

    page = Page(options_of(animate), candidates, films)
    address = _launched(page.blocks(), host, port, films, browse)
    Console().print(f"hallo3 app: {address}  (films: {films}; Ctrl-C ends it)", soft_wrap=True, highlight=False)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    try:
        threading.Event().wait()
    except KeyboardInterrupt:
        return 0
    finally:
        page.stop()
    return 0


def _check(candidates: Candidates) -> None:
    absent = [path for path in candidates.named if not path.is_dir()]
    if absent:
        raise UsageError(f"--weights {absent[0]} is not there; name the folder of a run or of imported weights")
    if not candidates.all():
        raise UsageError(
            f"there is no run of an audio phase with a checkpoint in --runs {candidates.root}; train one (`make demo`), name another folder, "
            "or name weights with --weights"
        )


def _check_address(host: str, port: int | None) -> None:
    """Before seconds of imports, and in fewer words than gradio's."""
    if port is not None and not 0 < port < 2**16:
        raise UsageError(f"--port is {port}; expected 1 to 65535")
    try:
        socket.create_server((host, port or 0)).close()
    except OSError as error:
        place = host if port is None else f"{host}:{port}"
        reason = str(error.strerror).partition(" (")[0]  # Python adds the place
        raise UsageError(
            f"{place} cannot be served ({reason}); give a free --port, and as --host an address of this machine"
        ) from error


def _prepare(films: Path) -> None:
    """What gradio reads once, when it is imported; raises UsageError where it is not installed."""
    films.mkdir(parents=True, exist_ok=True)
    os.environ.update(QUIET, GRADIO_TEMP_DIR=str(films / "uploads"))
    try:
        import gradio  # noqa: F401  late: it takes seconds, and is an extra
    except ModuleNotFoundError as error:
        if error.name != "gradio":
            raise
        raise UsageError("gradio is not installed, which shows the page; pip install '.[app]'") from error


def _launched(blocks: "Blocks", host: str, port: int | None, films: Path, browse: bool) -> str:
    """The address of the page, which is served by threads of this process from now on."""
    from starlette.middleware import Middleware

    from hallo3_lightning.app.page import CSS

    _, address, _ = blocks.launch(
        server_name=host, server_port=port, share=False, inbrowser=browse, quiet=True, prevent_thread_lock=True,
        allowed_paths=[str(films)], css=CSS, footer_links=[], ssr_mode=False, enable_monitoring=False,
        app_kwargs={"middleware": [Middleware(Policed)]},
    )  # fmt: skip
    return address


class Policed:
    """Sends POLICY with every answer."""

    def __init__(self, app: Any) -> None:
        self.app = app

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        async def sent(message: Any) -> None:
            if message["type"] == "http.response.start":
                message["headers"].append((b"content-security-policy", POLICY.encode()))
            await send(message)

        await self.app(scope, receive, sent if scope["type"] == "http" else send)
