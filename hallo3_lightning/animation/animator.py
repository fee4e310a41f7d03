"""From one reference and sound of any length to video, window by window."""

from collections.abc import Generator, Iterator
from dataclasses import dataclass
from typing import get_args

import torch
from einops import repeat
from torch import Tensor

from hallo3_lightning.animation.blending import blended
from hallo3_lightning.animation.division import UNDIVIDED, Division
from hallo3_lightning.animation.residency import Residency
from hallo3_lightning.animation.sampling import Sampling
from hallo3_lightning.animation.shortcuts import EXACT, Shortcuts
from hallo3_lightning.animation.sound import ClipSound, KnownSound, Sound
from hallo3_lightning.animation.window_sampling import WindowSampling
from hallo3_lightning.animation.windows import Loop, Window, windows_as_heard
from hallo3_lightning.batch import Batch
from hallo3_lightning.conditioning.motion import Corruption, corrupted, padded, with_reference
from hallo3_lightning.denoiser import Denoiser
from hallo3_lightning.diffusion.process import Process
from hallo3_lightning.errors import unknown
from hallo3_lightning.geometry import latent_frames
from hallo3_lightning.model.frozen import FrozenEncoders, pixels, signed


@dataclass(frozen=True)
class Continuation:
    """Where a video goes on: with this, the windows that follow are those of the unbroken one, bit for bit.

    window: index of the next window.
    motion: [B, n, 3, H, W], the motion frames that it begins with: the last n of the window before it, which decoded them,
        in uint8; in the published loop bfloat16 in [0, 1], as it hands them on. They are those that are seen, and where
        a window has fewer than 2 n frames also some that it showed a second time, and nobody sees.
    """

    window: int
    motion: Tensor


@dataclass(frozen=True)
class Chunk:
    """New frames [B, f, 3, H, W] uint8, at least one, as soon as they are decoded.

    ends_window: whether no more will come of its window.
    following: behind a whole window, where the video goes on; None before its end, and where the sound ended within it.
    """

    frames: Tensor
    window: Window
    ends_window: bool
    following: Continuation | None


@dataclass(frozen=True)
class Animator:
    """Everything that sampling needs; the same noise for a clip whatever the batch it is in.

    Args:
        denoiser: in evaluation mode.
        encoders: the frozen ones that it was trained with.
        process: the diffusion process.
        clip_frames: frames of a window.
        motion_frames: n, carried over from the last window.
        corruption: of motion frames, as in training.
        sampling: steps, sampler, guidance.
        seed: of every draw.
        loop: how windows follow each other.
        shortcuts: approximations, all off by default.
        residency: what waits in main memory while it is idle.
        tiled: whether frames are decoded over tiles of the picture, for less memory.
        division: who evaluates which branches of guidance.
    """

    denoiser: Denoiser
    encoders: FrozenEncoders
    process: Process
    clip_frames: int
    motion_frames: int
    corruption: Corruption
    sampling: Sampling
    seed: int
    loop: Loop = "exact"
    shortcuts: Shortcuts = EXACT
    residency: Residency = Residency()
    tiled: bool = False
    division: Division = UNDIVIDED

    def __post_init__(self) -> None:
        """Raise UsageError for a loop that is none: here and there it would be taken for either."""
        if self.loop not in get_args(Loop):
            raise unknown("loop", self.loop, get_args(Loop))

    @torch.no_grad()
    def frames(
        self,
        batch: Batch,
        total_frames: int | None = None,
        start: Continuation | None = None,
        sound: Sound | None = None,
    ) -> Iterator[Chunk]:
        """The video in chunks, the first of each window while the others are still to be decoded.

        Nothing of a finished window is held, so that memory does not grow with length. `batch` has the reference, and
        sound for `total_frames` unless `sound` brings its own, which then also says when the video ends. `start` is
        where to go on, by default with the reference itself as motion frames.
        """
        if sound is None:
            assert total_frames is not None
            sound = self._sound(batch, total_frames)
        whole = self._filled(batch)
        last = start or self._beginning(whole)
        for window in windows_as_heard(sound.there, self.clip_frames, self.motion_frames, self.loop, first=last.window):
            latents = self.latents(whole, sound, last.motion, window)
            following = yield from self._decoded(latents, last.motion, window)
            if following is None:
                return
            last = following

    def video(self, batch: Batch, total_frames: int, start: Continuation | None = None) -> Tensor:
        """All frames [B, F, 3, H, W] uint8."""
        return torch.cat([chunk.frames for chunk in self.frames(batch, total_frames, start)], dim=1)

    def latents(self, whole: Batch, sound: Sound, motion: Tensor, window: Window) -> Tensor:
        """Latents [B, T, c, h, w] of one window, under the motion frames of a continuation."""
        with self.residency.present("audio", self.encoders.audio):
            features = sound.features(window.start, self.clip_frames)
        with self.residency.present("video", self.encoders.video):
            beside = self._motion_latents(whole, motion, window.index)
        with self.residency.present("denoiser", self.denoiser):
            return self.sampled(whole.with_(motion_latents=beside, audio_features=features), window.index)

    def sampled(self, clip: Batch, window: int) -> Tensor:
        """Latents [B, T, c, h, w] of a clip with all its conditions, from noise that the window's number names."""
        return WindowSampling(
            self.denoiser, self.process, self.sampling, self.seed, self.shortcuts, self.division
        ).latents(clip, window)

    def disturbed(self, motion: Tensor, positions: Tensor, window: int) -> Tensor:
        """Motion frames [B, n, 3, H, W] in [-1, 1] as a window is given them."""
        return corrupted(motion, self.corruption, self.seed, positions, window, training=False)

    def _sound(self, batch: Batch, total_frames: int) -> Sound:
        """As training heard it: features that were computed ahead, of whole takes, or else each window as a clip."""
        if batch.audio_features is None and batch.waveform is not None:
            return ClipSound(batch.waveform, self.encoders.audio, total_frames)
        return KnownSound(batch.audio_features, total_frames)

    def _filled(self, batch: Batch) -> Batch:
        """What all windows share, encoded once.

        What the denoiser's conditioners make of it (reference network, face tokens, their keys and values) is computed
        again in each window: .1 % of one of 50 steps at full size.
        """
        assert batch.reference is not None
        whole = batch.with_(video=None, latents=None, waveform=None, audio_features=None)
        for kind in ("text", "video"):
            with self.residency.present(kind, getattr(self.encoders, kind)):
                whole = self.encoders.fill(whole, (kind,))
        return whole

    def _beginning(self, whole: Batch) -> Continuation:
        assert whole.reference is not None
        return Continuation(0, repeat(whole.reference, "b c h w -> b n c h w", n=self.motion_frames))

    def _motion_latents(self, whole: Batch, motion: Tensor, window: int) -> Tensor:
        assert whole.reference is not None
        assert whole.positions is not None
        disturbed = self.disturbed(_signed(motion), whole.positions, window)
        latents = self.encoders.video.encode(with_reference(signed(whole.reference), disturbed))
        return padded(latents, latent_frames(self.clip_frames))

    def _decoded(self, latents: Tensor, motion: Tensor, window: Window) -> Generator[Chunk, None, Continuation | None]:
        """The new frames of a window as they are decoded; returns where the video goes on, None where it is over.

        The published loop decodes all frames of all windows, and goes on behind the end of the sound.
        """
        with self.residency.present("video", self.encoders.video):
            behind, tail = window.start, None
            decoded = self.encoders.video.decode_chunks(latents, self.tiled)
            for frames in blended(decoded, _signed(motion), self.sampling.blend_frames) if window.index else decoded:
                first, behind = behind, behind + frames.shape[1]
                tail = frames if tail is None else torch.cat([tail, frames], dim=1)
                tail = tail[:, max(tail.shape[1] - self.motion_frames, 0) :]
                whole = behind == window.start + self.clip_frames
                following = Continuation(window.index + 1, self._carried(tail)) if whole else None
                new = frames[:, max(window.start + window.kept_from - first, 0) : max(window.stop - first, 0)]
                if new.shape[1]:
                    yield Chunk(pixels(new), window, behind >= window.stop, following)
                if behind >= window.stop and self.loop == "exact":
                    break
        return following

    def _carried(self, frames: Tensor) -> Tensor:
        """Decoded frames as the next window gets them."""
        return pixels(frames) if self.loop == "exact" else ((frames.clamp(-1, 1) + 1) / 2).bfloat16()


def _signed(motion: Tensor) -> Tensor:
    """Carried frames in [-1, 1]."""
    return signed(motion) if motion.dtype == torch.uint8 else 2 * motion.float() - 1
