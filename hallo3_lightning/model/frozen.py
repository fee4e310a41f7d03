"""The frozen encoders, chosen by file name, and what they add to a batch."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Protocol

import torch
from einops import rearrange
from torch import Tensor, nn

from hallo3_lightning.batch import Batch
from hallo3_lightning.find import find
from hallo3_lightning.geometry import AUDIO_CONTEXT_FRAMES, AUDIO_WINDOW, audio_samples
from hallo3_lightning.model.fingerprint import fingerprint


class VideoEncoder(Protocol):
    @property
    def pixels_per_latent(self) -> int:
        """Along a side of the picture."""

    @classmethod
    def pixels_per_latent_of(cls, folder: str) -> int:
        """The same of the one in a folder, without reading its numbers."""

    @property
    def decoding_bytes_per_pixel(self) -> int:
        """Of the picture: what decoding a chunk holds at most beside the weights, in float32."""

    def encode(self, frames: Tensor) -> Tensor:
        """[B, F, 3, H, W] in [-1, 1] -> latents [B, T, c, h, w]."""

    def decode(self, latents: Tensor) -> Tensor:
        """Latents [B, T, c, h, w] -> [B, F, 3, H, W]."""

    def decode_chunks(self, latents: Tensor, tiled: bool = False) -> Iterator[Tensor]:
        """The same frames in their order, some at a time: each does without the latents that come behind it.

        `tiled`: with the memory of a piece of the picture instead of all of it; where pieces meet they are blended.
        """


class TextEncoder(Protocol):
    width: int

    def encode(self, captions: tuple[str, ...]) -> Tensor:
        """[B, L, E]."""


class AudioEncoder(Protocol):
    """In float32 within autocast too: so features are the same in a cache, in training and in a film of any precision."""

    layers: int
    channels: int
    context_frames: int
    """On either side of a window: hearing more than that changes its features little, or not at all."""
    hearing_bytes_per_frame: int
    """Of sound: what encoding takes at most beside the weights."""

    def encode(self, waveform: Tensor) -> Tensor:
        """[B, F * 640] -> [B, F, layers, channels]."""

    def utterance(self, waveform: Tensor, clip_frames: int = 1) -> tuple[Tensor, int]:
        """Features [B, F, layers, channels] of whole utterances [B, samples], and how many frames the sound lasts.

        Silence fills them up to a multiple of `clip_frames`, so that F is one.
        """


KINDS = ("video", "text", "audio")


@dataclass(frozen=True)
class Encoders:
    """Which frozen encoders read pixels, words and sound: names of files in model/encoders/, and their folders.

    Args:
        video: file in model/encoders/video.
        video_folder: where its weights lie.
        text: file in model/encoders/text.
        text_folder: where its weights lie.
        audio: file in model/encoders/audio.
        audio_folder: where its weights lie.
    """

    video: str = "cogvideox"
    video_folder: str = ""
    text: str = "t5"
    text_folder: str = ""
    audio: str = "wav2vec2"
    audio_folder: str = ""


class FrozenEncoders(nn.Module):
    """Fills in the latents, text embeddings and audio features of a batch that does not have them yet."""

    def __init__(self, encoders: Encoders, text_tokens: int, text_width: int) -> None:
        super().__init__()
        self.video: VideoEncoder = find("model.encoders.video", encoders.video).load(encoders.video_folder)
        self.text: TextEncoder = find("model.encoders.text", encoders.text).load(
            encoders.text_folder, text_tokens, text_width
        )
        self.audio: AudioEncoder = find("model.encoders.audio", encoders.audio).load(encoders.audio_folder)
        self.requires_grad_(False)
        self.eval()

    def train(self, mode: bool = True) -> "FrozenEncoders":
        """Frozen modules stay in evaluation mode."""
        return super().train(False)

    @torch.no_grad()
    def fill(self, batch: Batch, kinds: Iterable[str] = KINDS) -> Batch:
        """The batch with latents, reference_latents, text_embeddings and audio_features where their sources are.

        `kinds`: the encoders that are at work.
        """
        made: dict[str, Tensor] = {}
        if "video" in kinds and batch.latents is None and batch.video is not None:
            made["latents"] = self.video.encode(signed(batch.video))
        if "video" in kinds and batch.reference_latents is None and batch.reference is not None:
            made["reference_latents"] = self.video.encode(face_only(batch))
        if "text" in kinds and batch.text_embeddings is None and batch.captions is not None:
            made["text_embeddings"] = self.text.encode(batch.captions)
        if "audio" in kinds and batch.audio_features is None and batch.waveform is not None:
            made["audio_features"] = windows(self.audio.encode(batch.waveform))
        return batch.with_(**made)

    @torch.no_grad()
    def whole_take(self, waveform: Tensor) -> Tensor:
        """Audio features of a take [B, F * 640] with AUDIO_CONTEXT_FRAMES of silence on either side.

        [B, F + 4, layers, channels]: the windows of a slice are the features of that clip. An encoder that hears the
        whole sound at once (wav2vec2) hears the take here, as published, and only the clip in `fill`.
        """
        silence = waveform.new_zeros(len(waveform), audio_samples(AUDIO_CONTEXT_FRAMES))
        return self.audio.encode(torch.cat([silence, waveform, silence], dim=1))

    def fingerprints(self, kinds: Iterable[str] = KINDS) -> dict[str, str]:
        """Of each encoder of those kinds, what it computes: signals computed ahead by another are of no use."""
        return {kind: fingerprint(getattr(self, kind)) for kind in kinds}

    @torch.no_grad()
    def decode(self, latents: Tensor) -> Tensor:
        """Latents [B, T, c, h, w] -> pixels [B, F, 3, H, W] uint8."""
        return pixels(self.video.decode(latents))


def signed(frames: Tensor) -> Tensor:
    """uint8 pixels -> float in [-1, 1]."""
    return frames.float() / 127.5 - 1


def pixels(frames: Tensor) -> Tensor:
    """Float in [-1, 1] -> uint8 pixels, clipped and rounded."""
    return ((frames.float().clamp(-1, 1) + 1) * 127.5).round().to(torch.uint8)


def face_only(batch: Batch) -> Tensor:
    """The reference as a clip of one frame [B, 1, 3, H, W] in [-1, 1], black outside the face rectangle."""
    assert batch.reference is not None
    seen = batch.reference if batch.face_mask is None else batch.reference * batch.face_mask
    return rearrange(signed(seen), "b c h w -> b 1 c h w")


def windows(features: Tensor) -> Tensor:
    """Features [B, F + 4, layers, channels] -> [B, F, 5, layers, channels]: frames i-2 .. i+2 of each frame i."""
    return rearrange(features.unfold(1, AUDIO_WINDOW, 1), "b f layers channels window -> b f window layers channels")


def clamped_windows(features: Tensor) -> Tensor:
    """Features [B, F, layers, channels] of all there is -> [B, F, 5, layers, channels]: the ends stand in for what
    would lie beyond them, as published."""
    first, last = features[:, :1], features[:, -1:]
    around = AUDIO_CONTEXT_FRAMES
    return windows(torch.cat([*[first] * around, features, *[last] * around], dim=1))
