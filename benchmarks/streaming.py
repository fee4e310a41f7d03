"""Delay, speed, memory and quality of animating as sound arrives, by sampling steps and length of a window.

The delay to the first frame of live speech is the sound that a window waits for (its own frames and two more) and the
time until its first chunk is decoded. With --run, a finished audio run on procedural heads, the mouth of a person that it
has not seen is compared with the truth; without, weights are random and only the clock says something.
Memory: the peak of a process that animates noise for ten seconds, and of one that does so for --minutes.
"""

import argparse
import json
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
import yaml
from rich.console import Console
from rich.table import Table
from torch import Tensor

from datamodules.clip import cut
from datamodules.synthetic.take import make_take
from hallo3_lightning.animation.animator import Animator, Chunk
from hallo3_lightning.animation.sampling import Sampling
from hallo3_lightning.animation.shortcuts import EXACT, Shortcuts
from hallo3_lightning.animation.sound import ArrivingSound
from hallo3_lightning.batch import Batch
from hallo3_lightning.conditioning.conditioner import Inputs
from hallo3_lightning.conditioning.motion import Corruption
from hallo3_lightning.denoiser import denoiser_of
from hallo3_lightning.diffusion.process import Process
from hallo3_lightning.evaluation.mouth import correlation, opening
from hallo3_lightning.film.audio_context import trained_with
from hallo3_lightning.film.pace import Pace
from hallo3_lightning.film.placement import Placement, precision_of
from hallo3_lightning.film.trained import trained
from hallo3_lightning.geometry import AUDIO_CONTEXT_FRAMES, FPS, SAMPLES_PER_FRAME, audio_samples, pixel_frames, seconds
from hallo3_lightning.model.encoders.video.patch import PatchAutoencoder
from hallo3_lightning.model.frozen import Encoders, FrozenEncoders, signed
from hallo3_lightning.model.transformer import Backbone
from hallo3_lightning.process_memory import peak_bytes
from hallo3_lightning.randomness import generator

SETTINGS = Path(__file__).parents[1] / "experiments/tiny/audio.yaml"
SHORTCUTS = (Shortcuts(reuse=0.1), Shortcuts(reuse=0.3), Shortcuts(unguided=0.25), Shortcuts(unguided=0.5))
SOMEBODY = 987_654
"""Seed of a person, a scene and a speech that are in no data set."""


def speaker(frames: int) -> Batch:
    """A portrait, and the truth of the speech that it is to follow."""
    return cut(make_take(SOMEBODY, 0, frames=frames), position=0, start=0, frames=frames, reference=0)


@dataclass(frozen=True)
class Performer:
    """What animates, in which precision, and how many frames around a clip it heard in training."""

    animator: Animator
    placement: Placement = Placement("cpu", "32")
    heard_frames: int = AUDIO_CONTEXT_FRAMES

    def with_(self, **changes: Any) -> "Performer":
        """With other fields of its animator."""
        return replace(self, animator=replace(self.animator, **changes))

    def chunks(self, batch: Batch, pieces: Iterable[Tensor], is_live: bool = True) -> Iterator[Chunk]:
        """As `hallo3 animate --device cpu` makes them, of live speech or of a file's."""
        context = trained_with(self.heard_frames, is_live)
        assert context.before is not None
        assert context.after is not None
        sound = ArrivingSound(pieces, self.animator.encoders.audio, context.before, context.after)
        with self.placement.cast():
            yield from self.animator.frames(batch, sound=sound)


def from_run(place: Path) -> Performer:
    """With the precision and the hearing that `hallo3 animate` gives it (film/preparing.py)."""
    found = trained(place, (), {})
    placement, encoders = Placement("cpu", precision_of(None, found.precision)), found.encoders()
    denoiser, _ = found.denoiser(placement.dtype)
    animator = Animator(
        denoiser, encoders, Process(), found.clip_frames, found.motion_frames, found.corruption, found.sampling, seed=0
    )
    return Performer(animator, placement, encoders.audio.context_frames if found.heard_takes else AUDIO_CONTEXT_FRAMES)


def untrained() -> Performer:
    """Of the tiny sizes, with random weights everywhere."""
    model: dict[str, Any] = yaml.safe_load(SETTINGS.read_text())["model"]
    size = Backbone(**model["backbone"])
    torch.manual_seed(0)
    denoiser = denoiser_of(size, Inputs(**model["inputs"]), model["identity"], model["audio"], model["options"])
    with torch.no_grad():
        for parameter in denoiser.parameters():
            parameter += 0.02 * torch.randn(parameter.shape)
    with tempfile.TemporaryDirectory() as folder:
        video = speaker(40).video
        assert video is not None
        PatchAutoencoder.fit([signed(video[0])], channels=size.latent_channels).save(Path(folder))
        names = Encoders("patch", folder, "hashed_words", "", "log_mel", "")
        encoders = FrozenEncoders(names, size.text_tokens, size.text_width)
    clip, sampling = pixel_frames(size.latent_frames), Sampling(**model["sampling"])
    return Performer(Animator(denoiser.eval(), encoders, Process(), clip, 2, Corruption(), sampling, seed=0))


@dataclass(frozen=True)
class Row:
    """What one setting gave.

    waited_s: sound until a window can begin; first_s: from then to its first frame; slowness: seconds a second of video;
    difference: root-mean-square from the trained window at the most steps, in levels of 255; mouth: correlation.
    """

    clip_frames: int
    steps: int
    shortcuts: str
    waited_s: float
    first_s: float
    slowness: float
    difference: float
    mouth: float


def streamed(performer: Performer, batch: Batch, is_live: bool = True) -> tuple[Tensor, Pace]:
    """The video of the batch's sound, a tenth of a second of which arrives at a time, as fast as it is asked for."""
    assert batch.waveform is not None
    around = audio_samples(AUDIO_CONTEXT_FRAMES)
    pieces = batch.waveform[:, around:-around].split(1600, dim=1)
    pace = Pace()
    chunks = [chunk.frames for chunk in pace.watched(performer.chunks(batch, pieces, is_live))]
    return torch.cat(chunks, dim=1), pace


def rows(performer: Performer, batch: Batch, all_steps: list[int], latents: list[int]) -> list[Row]:
    """The trained window in the most steps first: the others, and shortcuts of it, are compared with its video."""
    ways = [(count, steps, EXACT) for count in latents for steps in all_steps]
    ways[1:1] = [(latents[0], all_steps[0], shortcuts) for shortcuts in SHORTCUTS]
    best, _ = streamed(performer, batch)  # slower than the others for reasons of its own
    found: list[Row] = []
    for count, steps, shortcuts in ways:
        clip, sampling = pixel_frames(count), replace(performer.animator.sampling, steps=steps)
        now = performer.with_(clip_frames=clip, sampling=sampling, shortcuts=shortcuts)
        video, pace = streamed(now, batch)
        best = best if found else video
        found.append(measured(now.animator, pace, video, best, batch))
    return found


def measured(animator: Animator, pace: Pace, video: Tensor, best: Tensor, batch: Batch) -> Row:
    assert batch.truth is not None
    assert pace.first_frame_s is not None
    return Row(
        animator.clip_frames,
        animator.sampling.steps,
        ", ".join(f"{name} {value:g}" for name, value in animator.shortcuts.taken.items()),
        seconds(animator.clip_frames + AUDIO_CONTEXT_FRAMES),
        pace.first_frame_s,
        pace.real_time_factor,
        float((video.float() - best.float()).square().mean().sqrt()),
        float(correlation(opening(video), batch.truth["aperture"])),
    )


def peak_alone(minutes: float, run: Path | None) -> int:
    """The most memory that a process of its own held."""
    command = [sys.executable, __file__, "--alone", str(minutes), *(["--run", str(run)] if run else [])]
    return int(subprocess.run(command, check=True, capture_output=True, text=True).stdout.split()[-1])


def alone(minutes: float, performer: Performer) -> None:
    """Animate noise, one step a window, forget the frames, and print this process's peak of memory in bytes."""
    performer = performer.with_(sampling=replace(performer.animator.sampling, steps=1))
    total = round(minutes * 60 * FPS)

    def noise() -> Iterator[Tensor]:
        for frame in range(total):
            yield torch.randn(1, SAMPLES_PER_FRAME, generator=generator(0, "noise", frame)) / 10

    frames = 0
    for chunk in performer.chunks(speaker(34), noise()):
        frames += chunk.frames.shape[1]
    assert frames == total
    sys.stdout.write(f"{peak_bytes()}\n")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", type=Path, help="write the figures there")
    parser.add_argument("--run", type=Path, help="a finished audio run on procedural heads; without, random weights")
    parser.add_argument("--seconds", type=float, default=10, help="of speech (%(default)s)")
    parser.add_argument("--steps", type=int, nargs="+", default=[8, 4, 2, 1], help="(%(default)s)")
    parser.add_argument("--latents", type=int, nargs="+", default=[5, 3, 2], help="latent frames (%(default)s)")
    parser.add_argument("--minutes", type=float, default=10, help="of noise, for memory (%(default)s)")
    parser.add_argument("--alone", type=float, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    performer = from_run(arguments.run) if arguments.run else untrained()
    if arguments.alone:
        alone(arguments.alone, performer)
        return
    found = rows(performer, speaker(round(arguments.seconds * FPS)), arguments.steps, arguments.latents)
    peaks = {minutes: peak_alone(minutes, arguments.run) for minutes in (1 / 6, arguments.minutes)}
    report(arguments, found, peaks)


def report(arguments: argparse.Namespace, found: list[Row], peaks: dict[float, int]) -> None:
    """A row a setting, then memory."""
    table = Table(
        *("window", "steps", "shortcut", "sound (s)", "first (s)", "s / s", "differs", "mouth"),
        title="Streaming: seconds of sound waited for, then until the first frame; seconds a second of video; "
        "difference from the first row in levels; mouth correlation",
    )
    for row in found:
        quality = (f"{row.difference:.1f}", f"{row.mouth:.2f}" if arguments.run else "-")
        speed = (f"{row.waited_s:.2f}", f"{row.first_s:.3f}", f"{row.slowness:.2f}")
        table.add_row(f"{row.clip_frames} frames", str(row.steps), row.shortcuts, *speed, *quality)
    Console().print(table)
    short, long = peaks.values()
    Console().print(
        f"peak memory: {short / 1e6:.0f} MB for 10 s, {long / 1e6:.0f} MB for {arguments.minutes:g} min "
        f"({long / short:.3f} times)"
    )
    if arguments.json:
        figures = {"ratio": long / short, "peak_bytes": peaks, "rows": [vars(row) for row in found]}
        arguments.json.write_text(json.dumps(figures, indent=2))


if __name__ == "__main__":
    main()
