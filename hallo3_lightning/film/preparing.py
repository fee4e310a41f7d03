"""From a request to everything that the frames come from: what is read, and what fits together."""

import os
import sys
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from rich.console import Console

from hallo3_lightning.animation.animator import Animator
from hallo3_lightning.animation.division import UNDIVIDED, Division
from hallo3_lightning.animation.guidance import chain
from hallo3_lightning.animation.sampling import Sampling
from hallo3_lightning.animation.windows import check_motion_frames
from hallo3_lightning.batch import Batch
from hallo3_lightning.denoiser import Denoiser
from hallo3_lightning.diffusion.process import Process
from hallo3_lightning.film.audio_context import EVERYTHING, AudioContext, asked, trained_with
from hallo3_lightning.film.budget import fitting, needs_of, parsed
from hallo3_lightning.film.facts import facts_of
from hallo3_lightning.film.placement import Placement, device_of, precision_of
from hallo3_lightning.film.portrait import Portrait, looked_at, placed
from hallo3_lightning.film.request import Request
from hallo3_lightning.film.speech import Heard, Readable, Speech
from hallo3_lightning.film.trained import Trained, trained
from hallo3_lightning.geometry import AUDIO_CONTEXT_FRAMES, pixel_frames
from hallo3_lightning.model.frozen import FrozenEncoders


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
    audio_context: AudioContext

    @property
    def size(self) -> tuple[int, int]:
        """Height and width of the film."""
        x0, y0, x1, y1 = self.portrait.shown
        return y1 - y0, x1 - x0


def prepare(request: Request, console: Console, division: Division = UNDIVIDED) -> Prepared:
    """Read everything, what takes long last. Raises UsageError for what does not go together."""
    network = trained(request.weights, request.configs, request.encoder_folders)
    motion, sampling = _motion_frames(request, network), request.changes.of(network.sampling)
    placement = Placement(device_of(request.device), precision_of(request.precision, network.precision))
    blank = network.blank()
    reads = {field for needs in blank.needs.values() for field in needs}
    seen = looked_at(request.image, request.face, "face_embedding" in reads)
    speech = Speech(request.audio, _pipe() if request.from_pipe else Path(request.audio), request.pcm_hz)
    heard = None if request.from_pipe else speech.survey()
    encoders = network.encoders()
    portrait = placed(seen, network.pixels(encoders.video), request.fit)
    _note(console, portrait.warning)
    _note(console, heard.warning if heard else "")
    if request.max_memory is not None:
        needs = needs_of(blank, encoders, network.inputs, sampling, placement.on_gpu)
        placement, told = fitting(needs, parsed(request.max_memory), placement, request.precision is None)
        _note(console, told)
    division.begin(chain(sampling.guidance, sampling.guided).num_branches, request.shortcuts, placement.precision)
    denoiser, fingerprint = _denoiser(request, network, encoders, placement)
    animator = replace(_animator(request, network, denoiser, encoders, placement, sampling, motion), division=division)
    batch = _batch(portrait, request.prompt, placement.device)
    audio = "through a pipe" if heard is None else heard.digest
    facts = facts_of(animator, batch, portrait, audio, fingerprint, placement.precision, request.kind)
    context = _audio_context(request, network, encoders)
    facts |= {"audio_context_frames": str(context), "compiled": request.compile, "processes": division.ranks}
    return Prepared(request, animator, placement, batch, portrait, speech, heard, facts, context)


def _audio_context(request: Request, network: Trained, encoders: FrozenEncoders) -> AudioContext:
    if request.loop == "published":
        return EVERYTHING
    if request.audio_context_frames is not None:
        return asked(request.audio_context_frames)
    frames = encoders.audio.context_frames if network.heard_takes else AUDIO_CONTEXT_FRAMES
    return trained_with(frames, is_live=request.from_pipe)


def _motion_frames(request: Request, network: Trained) -> int:
    motion = network.motion_frames if request.motion_frames is None else request.motion_frames
    check_motion_frames(motion, network.motion_frames, pixel_frames(network.backbone.latent_frames))
    return motion


def _denoiser(
    request: Request, network: Trained, encoders: FrozenEncoders, placement: Placement
) -> tuple[Denoiser, str]:
    """The denoiser where it is to work, beside the encoders, and the fingerprint of its weights."""
    denoiser, fingerprint = network.denoiser(placement.dtype)
    placement.put(denoiser, encoders)
    if request.compile:
        from hallo3_lightning.training.per_block import PerBlock  # late: Lightning takes seconds to import

        PerBlock("none", "inductor").arrange(denoiser)
    return denoiser, fingerprint


def _animator(
    request: Request, network: Trained, denoiser: Denoiser, encoders: FrozenEncoders, placement: Placement,
    sampling: Sampling, motion_frames: int,
) -> Animator:  # fmt: skip
    process, clip = Process().to(placement.device), pixel_frames(network.backbone.latent_frames)
    return Animator(
        denoiser, encoders, process, clip, motion_frames, network.corruption, sampling, request.seed,
        loop=request.loop, shortcuts=request.shortcuts, residency=placement.residency, tiled=placement.tiled,
    )  # fmt: skip


def _pipe() -> Readable:
    """Standard input as it arrives."""
    return os.fdopen(os.dup(sys.stdin.fileno()), "rb", buffering=0)


def _note(console: Console, told: str | None) -> None:
    if told:
        console.print(f"note: {told}", soft_wrap=True, markup=False, highlight=False)


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
