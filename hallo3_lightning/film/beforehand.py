"""What is known of a film before weights are read: all that can be wrong with a request is found at once, not minutes later."""

import os
import sys
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console

from hallo3_lightning.animation.sampling import Sampling
from hallo3_lightning.animation.windows import check_blend_frames, check_motion_frames
from hallo3_lightning.denoiser import Denoiser
from hallo3_lightning.film.placement import Placement, device_of, precision_of
from hallo3_lightning.film.portrait import Portrait, looked_at, placed
from hallo3_lightning.film.request import Request
from hallo3_lightning.film.speech import Heard, Readable, Speech
from hallo3_lightning.film.trained import Trained, trained


@dataclass(frozen=True)
class Beforehand:
    """The request, and what was found of everything that it names."""

    request: Request
    network: Trained
    blank: Denoiser
    """Without numbers."""
    sampling: Sampling
    motion_frames: int
    placement: Placement
    """As it is asked for: --max-memory may give some of it up."""
    portrait: Portrait
    speech: Speech
    heard: Heard | None
    """None of what comes through a pipe."""

    @property
    def prompt(self) -> str:
        request = self.request
        return request.prompt if request.prompt is not None else self.portrait.caption or ""

    @property
    def size(self) -> tuple[int, int]:
        """Height and width of the film."""
        x0, y0, x1, y1 = self.portrait.shown
        return y1 - y0, x1 - x0


def look_beforehand(request: Request, console: Console) -> Beforehand:
    """Read everything but weights. Raises UsageError for what does not go together."""
    network = trained(request.weights, request.configs, request.encoder_folders)
    sampling = request.changes.of(network.sampling)
    motion = network.motion_frames if request.motion_frames is None else request.motion_frames
    check_motion_frames(motion, network.motion_frames, network.clip_frames)
    check_blend_frames(sampling.blend_frames, motion, network.clip_frames)
    placement = Placement(device_of(request.device), precision_of(request.precision, network.precision))
    blank = network.blank()
    reads = {field for needs in blank.needs.values() for field in needs}
    seen = looked_at(request.image, request.face, "face_embedding" in reads)
    speech = Speech(request.audio, _pipe() if request.from_pipe else Path(request.audio), request.pcm_hz)
    heard = None if request.from_pipe else speech.survey()
    portrait = placed(seen, network.pixels(), request.fit)
    note(console, portrait.warning)
    note(console, heard.warning if heard else "")
    return Beforehand(request, network, blank, sampling, motion, placement, portrait, speech, heard)


def _pipe() -> Readable:
    """Standard input as it arrives."""
    return os.fdopen(os.dup(sys.stdin.fileno()), "rb", buffering=0)


def note(console: Console, told: str) -> None:
    """One sentence for the user; nothing where it is empty."""
    if told:
        console.print(f"note: {told}", soft_wrap=True, markup=False, highlight=False)
