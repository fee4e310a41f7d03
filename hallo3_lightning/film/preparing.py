"""From what is known of a film to everything that its frames come from: weights are read, and placed where they fit."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import torch
from rich.console import Console

from hallo3_lightning.animation.animator import Animator
from hallo3_lightning.animation.division import UNDIVIDED, Division
from hallo3_lightning.animation.guidance import chain
from hallo3_lightning.batch import Batch
from hallo3_lightning.denoiser import Denoiser
from hallo3_lightning.diffusion.process import Process
from hallo3_lightning.film.audio_context import EVERYTHING, AudioContext, asked, trained_with
from hallo3_lightning.film.beforehand import Beforehand, note
from hallo3_lightning.film.budget import fitting, needs_of, parsed
from hallo3_lightning.film.facts import facts_of
from hallo3_lightning.film.placement import Placement
from hallo3_lightning.film.request import Request
from hallo3_lightning.film.trained import Trained
from hallo3_lightning.geometry import AUDIO_CONTEXT_FRAMES
from hallo3_lightning.model.frozen import FrozenEncoders


@dataclass(frozen=True)
class Prepared:
    """Everything that the frames come from."""

    known: Beforehand
    animator: Animator
    placement: Placement
    batch: Batch
    facts: Mapping[str, Any]
    audio_context: AudioContext


def prepare(known: Beforehand, console: Console, division: Division = UNDIVIDED) -> Prepared:
    """Read the weights, what takes long last. Raises UsageError where they do not fit."""
    request, network, sampling, placement = known.request, known.network, known.sampling, known.placement
    encoders = network.encoders()
    context = _audio_context(request, network, encoders)
    if request.max_memory is not None:
        sound = context.frames_at_once(network.clip_frames, known.heard.frames if known.heard else 0)
        needs = needs_of(known.blank, encoders, network.inputs, sampling, placement.on_gpu, request.shortcuts, sound)
        placement, told = fitting(needs, parsed(request.max_memory), placement, request.precision is None)
        note(console, told)
    division.begin(chain(sampling.guidance, sampling.guided).num_branches, request.shortcuts, placement.precision)
    encoded_by = encoders.fingerprints()  # before they go to a GPU, from where all of them would have to come back
    denoiser, fingerprint = _denoiser(request, network, encoders, placement)
    animator = replace(_animator(known, denoiser, encoders, placement), division=division)
    facts = {
        **facts_of(known, division.ranks),
        "weights": fingerprint,
        "encoders": encoded_by,
        "precision": placement.precision,
        "tiled": placement.tiled,
        "audio_context_frames": str(context),
    }
    return Prepared(known, animator, placement, _batch(known, placement.device), facts, context)


def _audio_context(request: Request, network: Trained, encoders: FrozenEncoders) -> AudioContext:
    if request.loop == "published":
        return EVERYTHING
    if request.audio_context_frames is not None:
        return asked(request.audio_context_frames)
    frames = encoders.audio.context_frames if network.heard_takes else AUDIO_CONTEXT_FRAMES
    return trained_with(frames, is_live=request.from_pipe)


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


def _animator(known: Beforehand, denoiser: Denoiser, encoders: FrozenEncoders, placement: Placement) -> Animator:
    request, network, process = known.request, known.network, Process().to(placement.device)
    return Animator(
        denoiser, encoders, process, network.clip_frames, known.motion_frames, network.corruption, known.sampling,
        request.seed, loop=request.loop, shortcuts=request.shortcuts, residency=placement.residency,
        tiled=placement.tiled,
    )  # fmt: skip


def _batch(known: Beforehand, device: str) -> Batch:
    portrait = known.portrait
    return Batch(
        keys=("portrait",),
        positions=torch.zeros(1, dtype=torch.int64),
        captions=(known.prompt,),
        reference=portrait.reference,
        face_mask=portrait.face_mask,
        face_embedding=portrait.face_embedding,
    ).to(device)
