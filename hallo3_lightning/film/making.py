"""From a request to a film: what `hallo3 animate` does."""

import errno
import os
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, ExitStack, closing, contextmanager, nullcontext, suppress
from dataclasses import dataclass
from typing import Any

import torch
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from torch import Tensor

from hallo3_lightning.animation.animator import Chunk, Continuation
from hallo3_lightning.animation.division import UNDIVIDED, Division
from hallo3_lightning.animation.sampling import Sampling
from hallo3_lightning.animation.sound import ArrivingSound, Sound, published_sound, whole_sound
from hallo3_lightning.errors import UsageError
from hallo3_lightning.film.beforehand import Beforehand, look_beforehand
from hallo3_lightning.film.facts import facts_of, provenance, told_by
from hallo3_lightning.film.files.by_hand import undisturbed
from hallo3_lightning.film.files.film import BESIDE, Film, Place, beside, tags
from hallo3_lightning.film.files.frames_film import NpzFilm, PngFilm
from hallo3_lightning.film.files.mp4_film import GrowingMp4, Mp4Film
from hallo3_lightning.film.files.sound_track import SoundTrack
from hallo3_lightning.film.left_behind import is_finished, left_at
from hallo3_lightning.film.pace import Pace
from hallo3_lightning.film.portrait import Portrait
from hallo3_lightning.film.preparing import Prepared, prepare
from hallo3_lightning.film.request import Request, check_disk
from hallo3_lightning.film.unfinished import Kept, Unfinished, differing
from hallo3_lightning.geometry import seconds
from hallo3_lightning.process_memory import peak_bytes

PIPE_SOUND = 48_000, 2
"""Rate and channels of the track of what comes through a pipe in a container: they are needed before it is read."""

FULL = (errno.ENOSPC, errno.EDQUOT)
"""What a disk says that has no room left, or none for this user."""


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


def make(request: Request, console: Console, division: Division = UNDIVIDED) -> Made | None:
    """Make the film, or go on with it. Says what a user should know; None where it is finished already."""
    request.check()
    if request.to_pipe:
        return _to_standard_output(prepare(look_beforehand(request, console), console, division))
    unfinished = Unfinished(request.path, [beside(request.path, suffix) for suffix in BESIDE[request.kind]])
    unfinished.hold()
    try:
        unfinished.refuse_others()
        known = look_beforehand(request, console)
        # what is in the way is told before weights are read, as far as that can be known
        _where_to_begin(known, facts_of(known, division.ranks), unfinished)
        prepared = prepare(known, console, division)
        begin = _where_to_begin(known, prepared.facts, unfinished)
        if begin is None:
            unfinished.remove()
            console.print(f"{request.out} is finished already, by the same request", markup=False)
            return None
        if begin.place.frames:
            console.print(f"going on behind frame {begin.place.frames} of {request.out}", markup=False)
        return _to_file(prepared, unfinished, begin, console)
    finally:
        unfinished.let_go()


def _where_to_begin(known: Beforehand, facts: Mapping[str, Any], unfinished: Unfinished) -> Kept | None:
    """Behind what an earlier making of the same film left; None where that is all of it, as far as facts are known.

    Raises UsageError where something else is there, or no room for the rest.
    """
    kept = _left_of_it(known, facts, unfinished)
    if kept is not None and known.heard is not None:
        check_disk(known.request.path, known.request.kind, known.heard.frames, known.size, kept.place)
    return kept


def _left_of_it(known: Beforehand, facts: Mapping[str, Any], unfinished: Unfinished) -> Kept | None:
    request = known.request
    if request.overwrite or not unfinished.is_there:
        if _is_there_already(known, facts):
            return None
        if request.resume:
            raise UsageError(f"--resume: {request.out} has nothing to go on from; leave --resume out")
        return Kept()
    kept = unfinished.kept(facts)
    if known.heard is None:
        raise UsageError(
            f"{request.out} is unfinished, and what came through a pipe is gone; name another --out, or begin "
            "anew with --overwrite"
        )
    left = left_at(request.path, request.kind, kept.place, facts)
    if left == "other":
        raise UsageError(
            f"--out {request.out} is not the film that {unfinished.folder} goes on with: it was replaced, changed or "
            "deleted; put that film back, begin anew with --overwrite, or name another"
        )
    return None if left == "finished" else kept


def _is_there_already(known: Beforehand, facts: Mapping[str, Any]) -> bool:
    """Whether the same film is, and all of it. Raises UsageError where something else is."""
    request = known.request
    there = any(request.path.glob("*")) if request.path.is_dir() else request.path.exists()
    if request.overwrite or not there:
        return False
    told = told_by(request.path)
    if told is None:
        what = "is there, and no film of ours"
    elif other := differing(told, facts):
        what = f"is a film already, differing in {', '.join(other)}"
    elif known.heard is None:
        what = "is a film already, of what came through a pipe before"
    elif not is_finished(request.path):
        what = "is a part of this film, and the folder that said how to go on with it is gone"
    else:
        return True
    raise UsageError(f"--out {request.out} {what}; name another, or replace it with --overwrite")


def _to_file(prepared: Prepared, unfinished: Unfinished, kept: Kept, console: Console) -> Made:
    request = prepared.known.request
    track = _track(prepared) if request.kind == "mp4" else None
    pace, place, film = Pace(), kept.place, None
    with _full_disk_told(request, lambda: film.place.frames if film else place.frames), ExitStack() as files:
        with prepared.placement.cast(), _ended_by_hand(prepared):
            for chunk in _counted(pace.watched(chunks(prepared, track, kept)), prepared, place, console):
                if film is None:  # not before there is something to write: speech may turn out to be none
                    unfinished.keep(prepared.facts, kept)
                    film = files.enter_context(closing(_film(prepared, track, place)))
                with undisturbed():
                    film.write(cut(chunk, prepared.known.portrait))
                    if chunk.ends_window:
                        place = film.end_window()
                        if chunk.following is not None:
                            unfinished.keep(prepared.facts, Kept(place, chunk.following))
        if film is None:
            raise _ended_before_it_began()
        film.finish()
    unfinished.remove()
    return _made(prepared, kept.place.frames + pace.frames, pace)


def _to_standard_output(prepared: Prepared) -> Made:
    track, out = _track(prepared), os.fdopen(os.dup(sys.stdout.fileno()), "wb")
    film = GrowingMp4(out, prepared.known.size, track, tags(provenance(prepared.facts)))
    try:
        with _full_disk_told(prepared.known.request, lambda: film.place.frames), closing(out):
            return _to_pipe(prepared, film, track)
    except BrokenPipeError:
        raise UsageError(
            "--out - was closed by whoever read it before the film was whole; read it to its end, or name a file"
        ) from None


def _to_pipe(prepared: Prepared, film: GrowingMp4, track: SoundTrack) -> Made:
    pace = Pace()
    with prepared.placement.cast(), _ended_by_hand(prepared):
        for chunk in pace.watched(chunks(prepared, track, Kept())):
            with undisturbed():
                film.write(cut(chunk, prepared.known.portrait))
                if chunk.ends_window:
                    film.end_window()
    if not film.place.frames:
        raise _ended_before_it_began()
    film.finish()
    return _made(prepared, film.place.frames, pace)


@contextmanager
def _full_disk_told(request: Request, frames: Callable[[], int]) -> Iterator[None]:
    """Raise UsageError where there is no room for more than so many frames."""
    try:
        yield
    except OSError as error:
        if error.errno not in FULL:
            raise
        plays = "" if request.kind == "npz" else " and play"
        again = "name another --out: what came through the pipe is gone" if request.from_pipe else "type the same again"
        raise UsageError(
            f"--out {request.out} has a disk without room ({error.strerror}): its first {frames()} frames are "
            f"there{plays}; make room, and {again}"
        ) from error


def _ended_before_it_began() -> UsageError:
    return UsageError("--audio - was ended before it was enough for a frame; nothing was animated: let it speak first")


def _ended_by_hand(prepared: Prepared) -> AbstractContextManager[Any]:
    """Ctrl-C is how one ends speech that comes live; of a file it ends the making, which the same command goes on with."""
    return suppress(KeyboardInterrupt) if prepared.known.heard is None else nullcontext()


def chunks(prepared: Prepared, track: SoundTrack | None, kept: Kept) -> Iterator[Chunk]:
    """New frames as they are decoded; `track` hears what the network hears."""
    device, animator = prepared.placement.device, prepared.animator
    pieces = (
        torch.from_numpy(piece)[None].to(device) for piece in prepared.known.speech.pieces(track, prepared.known.heard)
    )
    start = kept.following
    if start is not None:
        start = Continuation(start.window, start.motion.to(device))
    chunks = animator.frames(prepared.batch, start=start, sound=_sound(prepared, pieces))
    first = next(chunks, None)
    if first is None:
        raise UsageError(f"--audio {prepared.known.speech.name} has no sound in it; nothing was animated")
    yield first
    yield from chunks


def _sound(prepared: Prepared, pieces: Iterator[Tensor]) -> Sound:
    """As the encoder hears it: window by window, or all of it now."""
    animator, context = prepared.animator, prepared.audio_context
    audio = animator.encoders.audio
    if context.before is not None and context.after is not None:
        return ArrivingSound(pieces, audio, context.before, context.after)
    with animator.residency.present("audio", audio):
        utterance = torch.cat(list(pieces), dim=1)
        if animator.loop == "published":
            return published_sound(utterance, audio, animator.clip_frames)
        return whole_sound(utterance, animator.encoders)


def _film(prepared: Prepared, track: SoundTrack | None, place: Place) -> Film:
    request, notes = prepared.known.request, tags(provenance(prepared.facts))
    if request.kind == "png":
        return PngFilm(request.path, notes, place)
    if request.kind == "npz":
        return NpzFilm(request.path, prepared.known.size, notes, place)
    return Mp4Film(request.path, prepared.known.size, track, notes, place, growing=request.stream)


def _track(prepared: Prepared) -> SoundTrack:
    heard, pcm_hz = prepared.known.heard, prepared.known.request.pcm_hz
    if heard is not None:
        return SoundTrack(heard.rate_hz, heard.channels)
    return SoundTrack(*PIPE_SOUND) if pcm_hz is None else SoundTrack(pcm_hz, 1)


def cut(chunk: Chunk, portrait: Portrait) -> Tensor:
    """Frames [f, 3, h, w] without the bars that the portrait was given."""
    x0, y0, x1, y1 = portrait.shown
    return chunk.frames[0, :, :, y0:y1, x0:x1]


def _counted(chunks: Iterator[Chunk], prepared: Prepared, place: Place, console: Console) -> Iterator[Chunk]:
    """The same chunks, and a bar on a terminal that says how far."""
    columns = TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn()
    total = None if prepared.known.heard is None else prepared.known.heard.frames
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as progress:
        task = progress.add_task("frames", total=total, completed=place.frames)
        for chunk in chunks:
            yield chunk
            progress.advance(task, chunk.frames.shape[1])


def _told(sampling: Sampling) -> str:
    """The scales of guidance, and of what."""
    if isinstance(sampling.guidance, Mapping):
        return ", ".join(f"{scale:g} by {name}" for name, scale in sampling.guidance.items()) or "none"
    return f"{sampling.guidance:g} by {' and '.join(sampling.guided)}" if sampling.guided else "none"


def _made(prepared: Prepared, frames: int, pace: Pace) -> Made:
    animator, device = prepared.animator, prepared.placement.device
    sampling, taken = animator.sampling, animator.shortcuts.taken
    on_gpu, context = prepared.placement.on_gpu, str(prepared.audio_context)
    peak = torch.cuda.max_memory_allocated(device) if on_gpu else peak_bytes()
    settings = [
        f"{sampling.sampler}, {sampling.steps} steps, guidance {_told(sampling)}, seed {animator.seed}",
        f"{animator.motion_frames} motion frames, {prepared.placement.precision} on {device}",
        *([f"blended over {sampling.blend_frames}"] if sampling.blend_frames else []),
        *([] if context == str(animator.encoders.audio.context_frames) else [f"audio context {context} frames"]),
        *(f"{name} {value}" for name, value in taken.items()),
    ]
    out = prepared.known.request.out
    assert out is not None
    return Made(out, frames, pace, peak, ", ".join(settings))
