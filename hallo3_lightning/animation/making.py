"""From a request to a film: what `hallo3 animate` does."""

import os
import resource
import sys
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, ExitStack, closing, nullcontext, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from torch import Tensor

from hallo3_lightning.animation.animator import Animator, Chunk, Continuation
from hallo3_lightning.animation.budget import fitting, needs_of, parsed
from hallo3_lightning.animation.facts import facts_of, provenance, told_by
from hallo3_lightning.animation.film import Film, Place, tags
from hallo3_lightning.animation.frames_film import NpzFilm, PngFilm
from hallo3_lightning.animation.mp4_film import GrowingMp4, Mp4Film
from hallo3_lightning.animation.pace import Pace
from hallo3_lightning.animation.placement import Placement, device_of, precision_of
from hallo3_lightning.animation.portrait import Portrait, looked_at, placed
from hallo3_lightning.animation.request import Request, check_disk
from hallo3_lightning.animation.sound import ArrivingSound, Sound, published_sound
from hallo3_lightning.animation.sound_track import SoundTrack
from hallo3_lightning.animation.speech import Heard, Readable, Speech
from hallo3_lightning.animation.trained import trained
from hallo3_lightning.animation.unfinished import Kept, Unfinished, differing
from hallo3_lightning.animation.windows import check_motion_frames
from hallo3_lightning.batch import Batch
from hallo3_lightning.diffusion.process import Process
from hallo3_lightning.errors import UsageError
from hallo3_lightning.geometry import pixel_frames, seconds

PIPE_SOUND = 48_000, 2
"""Rate and channels of the track of what comes through a pipe in a container: they are needed before it is read."""


@dataclass(frozen=True)
class Prepared:
    """Everything that the frames come from."""

    request: Request
    animator: Animator
    placement: Placement
    batch: Batch
    portrait: Portrait
    speech: Speech
    heard: Heard | None
    """None of what comes through a pipe."""
    facts: Mapping[str, Any]

    @property
    def size(self) -> tuple[int, int]:
        """Height and width of the film."""
        x0, y0, x1, y1 = self.portrait.shown
        return y1 - y0, x1 - x0


@dataclass(frozen=True)
class Made:
    """A film, and how its making went."""

    out: str
    frames: int
    pace: Pace
    peak_bytes: int
    settings: str

    def __str__(self) -> str:
        first_s = self.pace.first_frame_s or float("nan")
        return (
            f"{self.out}: {self.frames} frames, {seconds(self.frames):.2f} s; first frame after {first_s:.2f} s, real-time "
            f"factor {self.pace.real_time_factor:.2f}, peak memory {self.peak_bytes / 2**20:,.0f} MiB; {self.settings}"
        )


def make(request: Request, console: Console) -> Made | None:
    """Make the film, or go on with it. Says what a user should know; None where it is finished already."""
    request.check()
    prepared = prepare(request, console)
    if request.to_pipe:
        return _to_standard_output(prepared)
    unfinished = Unfinished(request.path)
    unfinished.hold()
    try:
        kept = _where_to_begin(prepared, unfinished, console)
        if kept is None and _is_finished(prepared, console):
            return None
        return _to_file(prepared, unfinished, kept or Kept(), console)
    finally:
        unfinished.let_go()


def prepare(request: Request, console: Console) -> Prepared:
    """Read everything, what takes long last. Raises UsageError for what does not go together."""
    network = trained(request.weights, request.configs, request.encoder_folders)
    motion = network.motion_frames if request.motion_frames is None else request.motion_frames
    clip = pixel_frames(network.backbone.latent_frames)
    check_motion_frames(motion, network.motion_frames, clip)
    sampling, device = request.changes.of(network.sampling), device_of(request.device)
    placement = Placement(device, precision_of(request.precision, network.precision))
    blank = network.blank()
    reads = {field for needs in blank.needs.values() for field in needs}
    seen = looked_at(request.image, request.face, "face_embedding" in reads)
    speech = Speech(request.audio, _pipe() if request.from_pipe else Path(request.audio), request.pcm_hz)
    heard = None if request.from_pipe else speech.survey()
    encoders = network.encoders()
    portrait = placed(seen, network.pixels(encoders.video), request.fit)
    notes = [warning for warning in (portrait.warning, heard.warning if heard else "") if warning]
    if request.max_memory is not None:
        needs = needs_of(blank, encoders, network.inputs, sampling, placement.on_gpu)
        placement, told = fitting(needs, parsed(request.max_memory), placement, request.precision is None)
        notes.append(told)
    for note in notes:
        console.print(f"note: {note}", soft_wrap=True, markup=False, highlight=False)
    denoiser, fingerprint = network.denoiser(placement.dtype)
    placement.put(denoiser, encoders)
    if request.compile:
        from hallo3_lightning.training.per_block import PerBlock  # late: Lightning takes seconds to import

        PerBlock("none", "inductor").arrange(denoiser)
    process = Process().to(device)
    animator = Animator(
        denoiser, encoders, process, clip, motion, network.corruption, sampling, request.seed,
        loop=request.loop, shortcuts=request.shortcuts, residency=placement.residency, tiled=placement.tiled,
    )  # fmt: skip
    batch = _batch(portrait, request.prompt, device)
    audio = "through a pipe" if heard is None else heard.digest
    facts = facts_of(animator, batch, portrait, audio, fingerprint, placement.precision, request.kind)
    facts["compiled"] = request.compile
    return Prepared(request, animator, placement, batch, portrait, speech, heard, facts)


def _pipe() -> Readable:
    """Standard input as it arrives."""
    return os.fdopen(os.dup(sys.stdin.fileno()), "rb", buffering=0)


def _batch(portrait: Portrait, prompt: str | None, device: str) -> Batch:
    caption = prompt if prompt is not None else portrait.caption or ""
    return Batch(
        keys=("portrait",),
        positions=torch.zeros(1, dtype=torch.int64),
        captions=(caption,),
        reference=portrait.reference,
        face_mask=portrait.face_mask,
        face_embedding=portrait.face_embedding,
    ).to(device)


def _where_to_begin(prepared: Prepared, unfinished: Unfinished, console: Console) -> Kept | None:
    """Where an earlier making of the same film ended; None for the beginning."""
    request = prepared.request
    if request.overwrite or not unfinished.is_there:
        if request.resume:
            raise UsageError(f"--resume: {request.out} has nothing to go on from; leave --resume and --overwrite out")
        return None
    kept = unfinished.kept(prepared.facts)
    if prepared.heard is None:
        raise UsageError(f"{request.out} is unfinished, and what came through a pipe is gone; give --overwrite")
    console.print(f"going on behind frame {kept.place.frames} of {request.out}", markup=False)
    return kept


def _is_finished(prepared: Prepared, console: Console) -> bool:
    """Whether the same film is there already. Raises UsageError where something else is."""
    request = prepared.request
    there = any(request.path.glob("*")) if request.path.is_dir() else request.path.exists()
    if request.overwrite or not there:
        return False
    told = told_by(request.path)
    other = [] if told is None else differing(told, prepared.facts)
    if told is not None and not other and prepared.heard is not None:
        console.print(f"{request.out} is finished already, by the same request", markup=False)
        return True
    what = "is there, and no film of ours" if told is None else f"is a film already, differing in {', '.join(other)}"
    raise UsageError(f"--out {request.out} {what}; name another, or replace it with --overwrite")


def _to_file(prepared: Prepared, unfinished: Unfinished, kept: Kept, console: Console) -> Made:
    request, heard = prepared.request, prepared.heard
    if heard is not None:
        check_disk(request.path, request.kind, heard.frames, prepared.size)
    track = _track(prepared) if request.kind == "mp4" else None
    pace, place, film = Pace(), kept.place, None
    with ExitStack() as files:
        with prepared.placement.cast(), _ended_by_hand(prepared):
            for chunk in _counted(pace.watched(_chunks(prepared, track, kept)), prepared, place, console):
                if film is None:  # not before there is something to write: speech may turn out to be none
                    unfinished.keep(prepared.facts, kept)
                    film = files.enter_context(closing(_film(prepared, track, place)))
                film.write(_cut(chunk, prepared.portrait))
                if chunk.ends_window:
                    place = film.end_window()
                    if chunk.following is not None:
                        unfinished.keep(prepared.facts, Kept(place, chunk.following))
        if film is not None:
            film.finish()
    unfinished.remove()
    return _made(prepared, kept.place.frames + pace.frames, pace)


def _to_standard_output(prepared: Prepared) -> Made:
    track, pace = _track(prepared), Pace()
    film = GrowingMp4(sys.stdout.buffer, prepared.size, track, tags(provenance(prepared.facts)))
    with prepared.placement.cast(), _ended_by_hand(prepared):
        for chunk in pace.watched(_chunks(prepared, track, Kept())):
            film.write(_cut(chunk, prepared.portrait))
            if chunk.ends_window:
                film.end_window()
    film.finish()
    return _made(prepared, film.place.frames, pace)


def _ended_by_hand(prepared: Prepared) -> AbstractContextManager[Any]:
    """Ctrl-C is how one ends speech that comes live; of a file it ends the making, which the same command goes on with."""
    return suppress(KeyboardInterrupt) if prepared.heard is None else nullcontext()


def _chunks(prepared: Prepared, track: SoundTrack | None, kept: Kept) -> Iterator[Chunk]:
    """New frames as they are decoded; `track` hears what the network hears."""
    device, animator = prepared.placement.device, prepared.animator
    pieces = (torch.from_numpy(piece)[None].to(device) for piece in prepared.speech.pieces(track))
    sound: Sound = ArrivingSound(pieces, animator.encoders.audio)
    if animator.loop == "published":
        with animator.residency.present("audio", animator.encoders.audio):
            sound = published_sound(torch.cat(list(pieces), dim=1), animator.encoders.audio, animator.clip_frames)
    start = kept.following
    if start is not None:
        start = Continuation(start.window, start.motion.to(device))
    chunks = animator.frames(prepared.batch, start=start, sound=sound)
    first = next(chunks, None)
    if first is None:
        raise UsageError(f"--audio {prepared.speech.name} has no sound in it; nothing was animated")
    yield first
    yield from chunks


def _film(prepared: Prepared, track: SoundTrack | None, place: Place) -> Film:
    request, notes = prepared.request, tags(provenance(prepared.facts))
    if request.kind == "png":
        return PngFilm(request.path, notes, place)
    if request.kind == "npz":
        return NpzFilm(request.path, prepared.size, notes, place)
    return Mp4Film(request.path, prepared.size, track, notes, place, growing=request.stream)


def _track(prepared: Prepared) -> SoundTrack:
    heard, pcm_hz = prepared.heard, prepared.request.pcm_hz
    if heard is not None:
        return SoundTrack(heard.rate_hz, heard.channels)
    return SoundTrack(*PIPE_SOUND) if pcm_hz is None else SoundTrack(pcm_hz, 1)


def _cut(chunk: Chunk, portrait: Portrait) -> Tensor:
    """Frames [f, 3, h, w] without the bars that the portrait was given."""
    x0, y0, x1, y1 = portrait.shown
    return chunk.frames[0, :, :, y0:y1, x0:x1]


def _counted(chunks: Iterator[Chunk], prepared: Prepared, place: Place, console: Console) -> Iterator[Chunk]:
    """The same chunks, and a bar on a terminal that says how far."""
    columns = TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn()
    total = None if prepared.heard is None else prepared.heard.frames
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as progress:
        task = progress.add_task("frames", total=total, completed=place.frames)
        for chunk in chunks:
            yield chunk
            progress.advance(task, chunk.frames.shape[1])


def _made(prepared: Prepared, frames: int, pace: Pace) -> Made:
    animator, device = prepared.animator, prepared.placement.device
    sampling, taken = animator.sampling, animator.shortcuts.taken
    on_gpu = prepared.placement.on_gpu
    peak = torch.cuda.max_memory_allocated() if on_gpu else resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    settings = [
        f"{sampling.sampler}, {sampling.steps} steps, guidance {sampling.guidance}, seed {animator.seed}",
        f"{animator.motion_frames} motion frames, {prepared.placement.precision} on {device}",
        *(f"{name} {value}" for name, value in taken.items()),
    ]
    return Made(prepared.request.out, frames, pace, peak, ", ".join(settings))
