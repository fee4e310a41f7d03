"""What of a sample is not as `datamodules.shards` says: types, ranges and sizes of everything that a clip is cut from."""

import math
from collections.abc import Iterator
from typing import Any

import numpy as np

from datamodules.sample import FACTS, Sample
from datamodules.video.video_file import Mp4
from hallo3_lightning.geometry import AUDIO_CONTEXT_FRAMES, FPS, audio_samples, pixel_frames

Fault = tuple[str, str, str]
"""Member, reason, and the sentence."""

_SHOWN = 60
"""Characters of a wrong value that a sentence repeats."""


def faults(sample: Sample) -> Iterator[Fault]:
    """What does not fit the json, or cannot be what its name says; what lies behind a wrong fact is not looked at."""
    wrong = list(faults_of_facts(sample.facts))
    yield from wrong
    if not wrong:
        yield from _faults_of_takes(sample)
        yield from _faults_of_signals(sample)


def faults_of_facts(facts: Any) -> Iterator[Fault]:
    """What is wrong with the json alone."""
    missing = [name for name in FACTS if name not in facts]
    if missing:
        yield "json", "missing fact", f"json lacks {', '.join(missing)}"
        return
    for name in ("frames", "height", "width"):
        if type(facts[name]) is not int or facts[name] < 1:
            yield (
                "json",
                "wrong fact",
                f"json says {name} is {_said(facts[name])}, expected a whole number of at least 1",
            )
            return
    if type(facts["fps"]) not in (int, float) or facts["fps"] != FPS:
        yield "json", "wrong frame rate", f"json says {_said(facts['fps'])} frames a second, expected {FPS}"
    if not _is_box(facts["face_box"], facts["height"], facts["width"]):
        within = f"whole pixels 0 <= x0 < x1 <= {facts['width']}, 0 <= y0 < y1 <= {facts['height']}, or null"
        yield (
            "json",
            "wrong fact",
            f"json says face_box is {_said(facts['face_box'])}, expected [x0, y0, x1, y1] in {within}",
        )


def not_finite(sample: Sample) -> Iterator[Fault]:
    """Arrays that hold a number that is none, all of each: a clip looks only at its own part."""
    arrays = {name: getattr(sample, name) for name in ("face_embedding", "text_embeddings", "audio_features")}
    arrays |= {"latents": sample.latents["latents"]} if sample.latents is not None else {}
    for name, array in arrays.items():
        if array is not None and not is_finite(in_single_precision(array)):
            yield name, f"non-finite {name}", f"{name} holds numbers that are not finite"


def in_single_precision(array: np.ndarray) -> np.ndarray:
    """As float32, contiguous; itself where it is that. What is past its range becomes infinite."""
    if array.dtype.itemsize <= np.dtype(np.float32).itemsize:
        return np.ascontiguousarray(array, np.float32)
    with np.errstate(over="ignore"):
        return np.ascontiguousarray(array, np.float32)


def is_finite(numbers: np.ndarray) -> bool:
    """Whether all of float32 numbers are."""
    if math.isfinite(np.add.reduce(numbers, axis=None)):  # quick, and may overflow
        return True
    return bool(np.isfinite(numbers).all())


def _faults_of_takes(sample: Sample) -> Iterator[Fault]:
    frames, height, width = (sample.facts[name] for name in ("frames", "height", "width"))
    if tuple(sample.video.shape) != (frames, height, width, 3) or sample.video.dtype != np.uint8:
        have = f"{sample.video.dtype} {list(sample.video.shape)}"
        member = "mp4" if isinstance(sample.video, Mp4) else "video.npy"
        yield member, "wrong size", f"{member} is {have}, json says uint8 {[frames, height, width, 3]}"
    if sample.waveform is not None and len(sample.waveform) != audio_samples(frames):
        have = f"wav has {len(sample.waveform)} samples"
        yield "wav", "wrong size", f"{have}, {frames} frames last {audio_samples(frames)}"
    for name, track in (sample.truth or {}).items():
        have = f"truth.safetensors: {name} is {_array(track)}"
        if not _is_numbers(track) or track.ndim < 1 or len(track) != frames:
            yield "truth.safetensors", "wrong size", f"{have}, expected numbers for each of the {frames} frames"


def _faults_of_signals(sample: Sample) -> Iterator[Fault]:
    rows = sample.facts["frames"] + 2 * AUDIO_CONTEXT_FRAMES
    axes = {
        "face_embedding": ("width",),
        "text_embeddings": ("tokens", "width"),
        "audio_features": (rows, "layers", "channels"),
    }
    for name, expected in axes.items():
        array = getattr(sample, name)
        if array is not None and not (_is_numbers(array) and _is_shaped(array, expected)):
            wanted = f"real numbers [{', '.join(map(str, expected))}]"
            yield name, "wrong size", f"{name} is {_array(array)}, expected {wanted}"
    yield from _faults_of_latents(sample)


def _faults_of_latents(sample: Sample) -> Iterator[Fault]:
    if sample.latents is None:
        return
    member = "latents.safetensors"
    if sample.latents.keys() != {"starts", "latents"}:
        yield (
            member,
            "missing fact",
            f"{member} holds {', '.join(sample.latents) or 'nothing'}, expected starts and latents",
        )
        return
    starts, latents = sample.latents["starts"], sample.latents["latents"]
    fits = starts.ndim == 1 and latents.ndim == 5 and len(starts) == len(latents) and latents.size > 0
    if not fits or starts.dtype.kind not in "iu" or not _is_numbers(latents):
        have = f"starts {_array(starts)} and latents {_array(latents)}"
        yield (
            member,
            "wrong size",
            f"{member} holds {have}, expected whole numbers [K] and [K, T, C, h, w], K at least 1",
        )
        return
    last = sample.facts["frames"] - pixel_frames(latents.shape[1])
    if int(starts.min()) < 0 or int(starts.max()) > last:
        have = f"starts from {starts.min()} to {starts.max()}"
        yield (
            member,
            "wrong fact",
            f"{member} holds {have}, clips of {latents.shape[1]} latent frames begin from 0 to {last}",
        )


def _is_numbers(array: np.ndarray) -> bool:
    """Real ones: text, dates, records and complex numbers are none."""
    return array.dtype.kind in "fiub"


def _is_shaped(array: np.ndarray, axes: tuple[str | int, ...]) -> bool:
    """Whether it has these axes, none of them empty: a number is a length, a name any."""
    return (
        array.ndim == len(axes)
        and array.size > 0
        and all(length == axis for length, axis in zip(array.shape, axes, strict=True) if isinstance(axis, int))
    )


def _is_box(box: Any, height: int, width: int) -> bool:
    if box is None:
        return True
    if not isinstance(box, list) or len(box) != 4 or any(type(edge) is not int for edge in box):
        return False
    x0, y0, x1, y1 = box
    return 0 <= x0 < x1 <= width and 0 <= y0 < y1 <= height


def _array(array: np.ndarray) -> str:
    return f"{array.dtype} {list(array.shape)}"


def _said(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}..."
