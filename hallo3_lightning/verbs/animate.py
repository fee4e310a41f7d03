import argparse
from pathlib import Path
from typing import Any

from hallo3_lightning.errors import UsageError

HELP = "a portrait and a recording of speech -> a video of it being spoken, of any length"

SAME = "as the weights' config says"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--image", type=_named, required=True, metavar="FILE|SHARDS:SPLIT/KEY", help="the portrait: a "
                        "picture, or the first frame of a sample of shards with its face box and embedding")  # fmt: skip
    parser.add_argument("--audio", type=_named, required=True, metavar="FILE|-", help="the speech: any sound file, a video "
                        "with sound, or - for standard input")  # fmt: skip
    parser.add_argument("--prompt", default=None, help="what the video shows, in words (a sample's caption, else none)")
    parser.add_argument("--weights", type=_named, required=True, metavar="FOLDER", help="of a run that finished its audio "
                        "phase (averaged weights), or one that `hallo3 import-weights` wrote")  # fmt: skip
    parser.add_argument("--out", required=True, metavar="FILE.mp4|FILE.npz|FOLDER|-", help="the film; the same command goes "
                        "on with it after a kill; - is standard output, with --stream")  # fmt: skip
    parser.add_argument("--format", choices=("mp4", "png", "npz"), default=None, help="of --out (by its name)")
    parser.add_argument("--face", default="none", metavar="L,T,R,B|FOLDER|none", help="where the face is: a box in pixels, "
                        "detector files that find it, or unknown: the whole picture (%(default)s)")  # fmt: skip
    parser.add_argument("--fit", default="auto", help="auto: the largest cut with the face in it, or bars where the cut "
                        "would lose some of it, which the film leaves out; or crop, pad, square, stretch as `hallo3 prepare` "
                        "(%(default)s)")  # fmt: skip
    _add_sampling(parser.add_argument_group("sampling"))
    _add_machine(parser.add_argument_group("machine"))
    _add_way(parser.add_argument_group("how it is written"))


def _named(text: str) -> str:
    """What was typed, while nothing has shortened it: a path drops one slash of an address, and of nothing makes "."."""
    if not text:
        raise argparse.ArgumentTypeError("it is empty; name a file or a folder")
    if "://" in text:
        raise argparse.ArgumentTypeError(f"{text} is an address, and nothing is fetched; download it and name the file")
    return text


def _add_sampling(group: Any) -> None:
    group.add_argument("--steps", type=int, default=None, help=f"a window ({SAME})")
    group.add_argument("--sampler", default=None, help=f"ddim, dpmpp_2m or dpmpp_2m_sde ({SAME})")
    group.add_argument("--guidance", type=float, default=None, help="one scale for all conditions that the "
                       f"config guides ({SAME})")  # fmt: skip
    for name in ("text", "audio", "identity"):
        group.add_argument(f"--guidance-{name}", type=float, default=None, help="a scale of its own; what is not named keeps "
                           "the config's")  # fmt: skip
    group.add_argument("--seed", type=int, default=0, help="of every draw (%(default)s)")
    group.add_argument("--motion-frames", type=int, default=None, help=f"carried over between windows ({SAME})")
    group.add_argument("--blend-frames", type=int, default=None, help="new frames of a window that are drawn towards the "
                       f"last one before it, so that its beginning is not seen, at most all of them ({SAME})")  # fmt: skip
    group.add_argument("--loop", choices=("exact", "published"), default="exact", help="how windows follow each other; "
                       "published: as Hallo3's own code has it, with windows in vain (%(default)s)")  # fmt: skip
    group.add_argument("--audio-context-frames", default=None, metavar="N|all", help="around a window, how much the audio "
                       "encoder hears: frames on either side, or all of the speech (as when the weights were trained; of "
                       "live speech no more than 2 behind it, which one has to wait for)")  # fmt: skip
    group.add_argument("--reuse", type=float, default=0.0, help="approximate: reuse what blocks add until it changed by "
                       "this share (%(default)s: exact)")  # fmt: skip
    group.add_argument("--unguided", type=float, default=0.0, help="approximate: share of steps, the last ones, without "
                       "guidance (%(default)s: exact)")  # fmt: skip


def _add_machine(group: Any) -> None:
    group.add_argument("--device", default=None, help="cpu, cuda or cuda:NUMBER (a GPU if there is one)")
    group.add_argument("--precision", default=None, help="32, bf16-mixed (products), bf16 (weights too) (as trained)")
    group.add_argument("--max-memory", default=None, metavar="24GB", help="choose what makes it fit, and say what")
    group.add_argument("--compile", action="store_true", help="compile the blocks: minutes at first, then faster, and other "
                       "by rounding")  # fmt: skip
    group.add_argument("--config", action="append", default=None, metavar="FILE", help="of imported weights: how they were "
                       "trained; may be given several times (experiments/full/audio.yaml)")  # fmt: skip
    for kind in ("video", "text", "audio"):
        group.add_argument(
            f"--{kind}-encoder", type=_named, metavar="FOLDER", help="if it is not where the config says"
        )


def _add_way(group: Any) -> None:
    group.add_argument(
        "--stream", action="store_true", help="the film stays as it grows, in fragments: somebody is watching"
    )
    group.add_argument("--pcm", type=int, default=None, metavar="HZ", help="--audio - carries bare 16-bit mono samples of "
                       "this rate")  # fmt: skip
    group.add_argument(
        "--resume", action="store_true", help="only go on: an error where there is no such film, finished or not"
    )
    group.add_argument("--overwrite", action="store_true", help="begin anew, whatever is there")


def run(
    image: str, audio: str, prompt: str | None, weights: str, out: str, config: list[str] | None, **given: Any
) -> int:
    from rich.console import Console

    from hallo3_lightning.animation.shortcuts import Shortcuts
    from hallo3_lightning.film.making import make
    from hallo3_lightning.film.ranks import is_one_of_several, leave_at_once
    from hallo3_lightning.film.request import Changes, Request
    from hallo3_lightning.film.together import make_together

    changes = ("steps", "sampler", "guidance", "guidance_text", "guidance_audio", "guidance_identity", "blend_frames")
    request = Request(
        image=image,
        audio=audio,
        prompt=prompt,
        weights=Path(weights),
        out=out,
        configs=tuple(config or ()),
        encoder_folders={kind: given.pop(f"{kind}_encoder") for kind in ("video", "text", "audio")},
        changes=Changes(**{name: given.pop(name) for name in changes}),
        shortcuts=Shortcuts(given.pop("reuse"), given.pop("unguided")),
        pcm_hz=given.pop("pcm"),
        **given,
    )
    console = Console(stderr=True)
    try:
        made = (make_together if is_one_of_several() else make)(request, console)
    except UsageError:
        if is_one_of_several():
            leave_at_once(status=2)  # as `hallo3` ends on what a user can mend
        raise
    if made is not None:
        (console if request.to_pipe else Console()).print(str(made), soft_wrap=True, markup=False, highlight=False)
    return 0
