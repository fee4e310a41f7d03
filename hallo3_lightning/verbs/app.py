import argparse
from pathlib import Path

HELP = "a page in the browser that animates: a portrait and a recording, one run or the arms of a grid side by side"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--runs", type=Path, default=Path("runs"), metavar="FOLDER", help="of runs and grids to choose "
                        "from; films and what is uploaded go to FOLDER/films (%(default)s)")  # fmt: skip
    parser.add_argument("--weights", type=Path, action="append", default=None, metavar="FOLDER", help="more to choose from, "
                        "as `hallo3 animate --weights` takes it; may be given several times")  # fmt: skip
    parser.add_argument("--port", type=int, default=None, help="(7860, or the next one that is free)")
    parser.add_argument("--host", default="127.0.0.1", help="whom to serve: nobody but this machine; 0.0.0.0 is everybody, "
                        "with what your account may read (%(default)s)")  # fmt: skip
    parser.add_argument("--no-browser", action="store_true", help="say the address, and open no browser")


def run(runs: Path, weights: list[Path] | None, port: int | None, host: str, no_browser: bool) -> int:
    from hallo3_lightning.app.serving import serve
    from hallo3_lightning.verbs import animate

    parser = argparse.ArgumentParser(add_help=False)
    animate.add_arguments(parser)
    return serve(parser, runs, tuple(weights or ()), host=host, port=port, browse=not no_browser)
