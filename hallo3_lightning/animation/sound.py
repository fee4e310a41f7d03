"""What is heard in a window: of sound that is all there, or that is still arriving."""

import math
from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor
from torch.nn.functional import pad

from hallo3_lightning.geometry import AUDIO_CONTEXT_FRAMES, SAMPLES_PER_FRAME, audio_samples
from hallo3_lightning.model.frozen import AudioEncoder, FrozenEncoders, clamped_windows, windows


class Sound(Protocol):
    """Where windows get their audio features from."""

    def there(self, start: int, stop: int) -> int:
        """How many frames of sound there are before frame `stop`, when they have come; what is before `start` may be
        forgotten."""

    def features(self, start: int, count: int) -> Tensor | None:
        """[B, count, AUDIO_WINDOW, layers, channels] from frame `start` on; None where nothing is heard."""


@dataclass(frozen=True)
class KnownSound:
    """Features [B, F, AUDIO_WINDOW, layers, channels] of all the sound, for a video of `total_frames`.

    Before the first they are zero, as published; behind the last it is repeated.
    """

    whole: Tensor | None
    total_frames: int

    def there(self, start: int, stop: int) -> int:
        return min(stop, self.total_frames)

    def features(self, start: int, count: int) -> Tensor | None:
        if self.whole is None:
            return None
        part = self.whole[:, max(start, 0) : start + count]
        before = torch.zeros_like(self.whole[:, :1])
        silent, missing = max(-start, 0), count - max(-start, 0) - part.shape[1]
        return torch.cat([*[before] * silent, part, *[self.whole[:, -1:]] * missing], dim=1)


@dataclass(frozen=True)
class ClipSound:
    """Sound of a clip [B, (F + 4) * 640], with its real neighbours, for a video of `total_frames`.

    A window hears its own frames and AUDIO_CONTEXT_FRAMES on either side, as clips do in training; features of what lies
    beyond F are as in KnownSound.
    """

    waveform: Tensor
    encoder: AudioEncoder
    total_frames: int

    def there(self, start: int, stop: int) -> int:
        return min(stop, self.total_frames)

    def features(self, start: int, count: int) -> Tensor | None:
        frames = self.waveform.shape[1] // SAMPLES_PER_FRAME - 2 * AUDIO_CONTEXT_FRAMES
        first = min(max(start, 0), frames - 1)
        last = max(min(start + count, frames), first + 1)
        heard = self.waveform[:, audio_samples(first) : audio_samples(last + 2 * AUDIO_CONTEXT_FRAMES)]
        return KnownSound(windows(self.encoder.encode(heard)), last - first).features(start - first, count)


def whole_sound(waveform: Tensor, encoders: FrozenEncoders) -> KnownSound:
    """A whole utterance [B, samples] as `hallo3 cache` hears a take: all at once, so that memory grows with its length."""
    frames = math.ceil(waveform.shape[1] / SAMPLES_PER_FRAME)
    filled = pad(waveform, (0, audio_samples(frames) - waveform.shape[1]))
    return KnownSound(windows(encoders.whole_take(filled)), frames)


def published_sound(waveform: Tensor, encoder: AudioEncoder, clip_frames: int) -> KnownSound:
    """A whole utterance [B, samples] as the published code hears it: all at once, so that memory grows with its length.

    Silence fills it up to whole windows, and its first and last frames stand in for their missing neighbours.
    """
    features, heard = encoder.utterance(waveform, clip_frames)
    return KnownSound(clamped_windows(features), heard)


class ArrivingSound:
    """Sound of which a window hears its own frames and some around them.

    A window can be sampled as soon as its sound and `after` frames have come, and what came long before is forgotten:
    memory does not grow with length. An encoder that listens far (wav2vec2) gives other features the more it hears;
    with the defaults it hears what it does in training on clips. Beyond both ends it hears AUDIO_CONTEXT_FRAMES of
    silence, as in training, and no more: invented silence would change the features of all the rest. Frames behind the
    end, which nobody sees, have the features of the last.

    Args:
        pieces: waveforms [B, samples] in [-1, 1], 16 kHz, of any lengths, one after the other; asked for when needed.
        encoder: what hears them.
        before: frames before a window that the encoder hears.
        after: frames behind it.
    """

    def __init__(
        self,
        pieces: Iterable[Tensor],
        encoder: AudioEncoder,
        before: int = AUDIO_CONTEXT_FRAMES,
        after: int = AUDIO_CONTEXT_FRAMES,
    ) -> None:
        assert min(before, after) >= AUDIO_CONTEXT_FRAMES
        self.encoder, self.before, self.after = encoder, before, after
        self._pieces = iter(pieces)
        self._kept = deque[
            Tensor
        ]()  # joined only when heard: joining with each piece would take the square of their number
        self._first, self._end, self._floor = 0, 0, 0
        self._ended = False

    def there(self, start: int, stop: int) -> int:
        self._floor = max(self._floor, audio_samples(start - self.before))
        while not self._ended and self._end < audio_samples(stop + self.after):
            self._read()
        return min(stop, math.ceil(self._end / SAMPLES_PER_FRAME))

    def features(self, start: int, count: int) -> Tensor | None:
        self.there(start, start + count)
        if not self._kept:
            return None
        end = math.ceil(self._end / SAMPLES_PER_FRAME)  # of the sound, unless there is more than is heard
        assert start < end, "a window without sound is none"
        first = max(start - self.before, -AUDIO_CONTEXT_FRAMES)
        last = min(start + count + self.after, end + AUDIO_CONTEXT_FRAMES)
        around = windows(self.encoder.encode(self._between(audio_samples(first), audio_samples(last))))
        return KnownSound(around, around.shape[1]).features(start - first - AUDIO_CONTEXT_FRAMES, count)

    def _between(self, first: int, last: int) -> Tensor:
        """Samples [B, last - first], silent where there are none."""
        inside = torch.cat([*self._kept], dim=1)[:, max(first - self._first, 0) : last - self._first]
        before = max(self._first - first, 0)
        return pad(inside, (before, last - first - before - inside.shape[1]))

    def _read(self) -> None:
        """Take one more piece, and drop those that no window will hear again; never the last, which silence is made like."""
        piece = next(self._pieces, None)
        if piece is None:
            self._ended = True
            return
        self._end += piece.shape[1]
        self._kept.append(piece)
        while len(self._kept) > 1 and self._first + self._kept[0].shape[1] <= self._floor:
            self._first += self._kept.popleft().shape[1]
