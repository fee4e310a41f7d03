"""From a whole take to one clip of it: frames, reference, sound, and the signals that were computed ahead."""

import numpy as np
import torch
from einops import rearrange
from torch import Tensor

from datamodules.bad_sample import BadSample
from datamodules.faults import in_single_precision, is_finite
from datamodules.sample import Sample
from hallo3_lightning.batch import Batch
from hallo3_lightning.geometry import AUDIO_CONTEXT_FRAMES, audio_samples
from hallo3_lightning.model.frozen import windows


def cut(
    sample: Sample,
    position: int,
    start: int,
    frames: int,
    reference: int,
    latents: int | None = None,
    shown: int | None = None,
) -> Batch:
    """Frames [start, start + frames) of a sample with frame `reference` as its portrait: a batch of one.

    latents: which of the sample's latent clips this is, None to leave them out; shown: how many leading frames of video
    the clip carries, all by default. Raises BadSample for signals that are not finite.
    """
    clip = slice(start, start + frames)
    pixels = sample.video[start : start + (frames if shown is None else min(shown, frames))]
    truth = sample.truth
    return Batch(
        keys=(sample.key,),
        positions=_one(np.array(position)),
        starts=_one(np.array(start)),
        captions=(sample.caption,),
        identities=(_identity(sample),),
        video=rearrange(_one(pixels), "b f h w c -> b f c h w"),
        reference=rearrange(_one(sample.video[reference]), "b h w c -> b c h w"),
        face_mask=_face_mask(sample),
        waveform=_waveform(sample, start, frames),
        face_embedding=_signal(sample, "face_embedding", sample.face_embedding),
        truth=None if truth is None else {name: _one(track[clip]) for name, track in truth.items()},
        latents=_latents(sample, latents),
        text_embeddings=_signal(sample, "text_embeddings", sample.text_embeddings),
        audio_features=_audio_features(sample, start, frames),
    )


def _identity(sample: Sample) -> str:
    """One line; "" where the sample does not say who it shows, or says it in no form that tables can have."""
    who = str(sample.facts["identity"]) if isinstance(sample.facts["identity"], str | int) else ""
    return who if who.isprintable() else ""


def _face_mask(sample: Sample) -> Tensor | None:
    """[1, 1, H, W], 1 inside the sample's face box."""
    if sample.facts["face_box"] is None:
        return None
    x0, y0, x1, y1 = sample.facts["face_box"]
    mask = np.zeros((1, sample.facts["height"], sample.facts["width"]), np.float32)
    mask[:, y0:y1, x0:x1] = 1
    return _one(mask)


def _waveform(sample: Sample, start: int, frames: int) -> Tensor | None:
    """[1, S] in [-1, 1]: the clip and AUDIO_CONTEXT_FRAMES on either side, zeros where the take has ended."""
    if sample.waveform is None:
        return None
    first = audio_samples(start - AUDIO_CONTEXT_FRAMES)
    last = audio_samples(start + frames + AUDIO_CONTEXT_FRAMES)
    wanted = np.zeros(last - first, np.float32)
    inside = slice(max(first, 0), min(last, len(sample.waveform)))
    wanted[inside.start - first : inside.stop - first] = sample.waveform[inside] / np.float32(32768)
    return _one(wanted)


def _audio_features(sample: Sample, start: int, frames: int) -> Tensor | None:
    """[1, F, AUDIO_WINDOW, layers, channels]: row i of the sample is frame i - AUDIO_CONTEXT_FRAMES."""
    if sample.audio_features is None:
        return None
    heard = sample.audio_features[start : start + frames + 2 * AUDIO_CONTEXT_FRAMES]
    signal = _signal(sample, "audio_features", heard)
    assert signal is not None
    return windows(signal)


def _latents(sample: Sample, number: int | None) -> Tensor | None:
    if number is None or sample.latents is None:
        return None
    return _signal(sample, "latents", sample.latents["latents"][number])


def _signal(sample: Sample, name: str, array: np.ndarray | None) -> Tensor | None:
    """A batch of one of it as float32. Raises BadSample where it holds a number that is not finite."""
    if array is None:
        return None
    numbers = in_single_precision(array)
    if not is_finite(numbers):
        message = f"sample '{sample.key}': {name} holds numbers that are not finite; write the shard again"
        raise BadSample(message, key=sample.key, member=name, reason=f"non-finite {name}")
    return _one(numbers)


def _one(array: np.ndarray) -> Tensor:
    """A batch of one of an array; a view of what was read is copied, as tensors may be written to."""
    return torch.from_numpy(array if array.flags.writeable else array.copy())[None]
