"""Samples in TensorBoard: strips, moving pictures, and the sound's waveform beside them."""

import io
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from einops import rearrange, repeat
from lightning import Callback, LightningModule, Trainer
from lightning.pytorch.loggers import TensorBoardLogger
from PIL import Image
from tensorboard.compat.proto.summary_pb2 import Summary
from torch import Tensor
from torch.utils.tensorboard import SummaryWriter

from hallo3_lightning.batch import Batch
from hallo3_lightning.geometry import AUDIO_CONTEXT_FRAMES, FPS, audio_samples
from hallo3_lightning.training.checkpoints import step_at_hand

CLIPS = 4
ENLARGED = 3
STRIP_FRAMES = 9


class Samples(Callback):
    """After every few validations, the first held-out clips: truth above, generated below."""

    def __init__(self, every: int) -> None:
        self.every = every
        self.validations = 0

    def on_validation_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Batch, batch_index: int, *_: Any
    ) -> None:
        if batch_index or trainer.sanity_checking:
            return
        self.validations += 1
        if self.validations % self.every or not isinstance(trainer.logger, TensorBoardLogger):
            return
        if trainer.is_global_zero:
            clips, generated = batch.rows(slice(0, CLIPS)), outputs["generated"][:CLIPS]
            write_samples(trainer.logger.experiment, "val", clips, generated, step_at_hand(trainer))

    def on_test_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Batch, batch_index: int, *_: Any
    ) -> None:
        if batch_index == 0 and trainer.is_global_zero and isinstance(trainer.logger, TensorBoardLogger):
            clips, generated = batch.rows(slice(0, CLIPS)), outputs["generated"][:CLIPS]
            write_samples(trainer.logger.experiment, "test", clips, generated, step_at_hand(trainer))


def write_samples(writer: SummaryWriter, stage: str, clips: Batch, generated: Tensor, step: int) -> None:
    """`<stage>/strip` and `<stage>/video` (a GIF above the waveform) of B clips and what was generated for them."""
    assert clips.video is not None
    truth, made = clips.video.cpu(), generated.cpu()
    writer.add_image(f"{stage}/strip", strip(truth, made), step)
    frames = rearrange([truth, made], "two b f c h w -> f (two h) (b w) c")
    frames = repeat(frames, "f h w c -> f (h p) (w q) c", p=ENLARGED, q=ENLARGED)
    if clips.waveform is not None:
        frames = torch.stack(
            [torch.cat([frame, wave]) for frame, wave in zip(frames, waveforms(clips.waveform, frames), strict=True)]
        )
    _add_gif(writer, f"{stage}/video", frames.numpy(), step)
    writer.flush()


def strip(truth: Tensor, generated: Tensor) -> Tensor:
    """Some frames of each clip [B, F, 3, H, W] side by side, truth above generated -> [3, 2 B H, n W] uint8."""
    shown = torch.linspace(0, truth.shape[1] - 1, min(STRIP_FRAMES, truth.shape[1])).round().long()
    rows = rearrange([truth[:, shown], generated[:, shown]], "two b f c h w -> c (b two h) (f w)")
    return repeat(rows, "c h w -> c (h p) (w q)", p=ENLARGED, q=ENLARGED)


def waveforms(sound: Tensor, frames: Tensor, height: int = 32) -> list[Tensor]:
    """The waveform of each clip as a picture under its frames [F, H, W, 3], the moment of each frame marked.

    `sound` [B, S] has context frames on either side, which are not drawn.
    """
    count, width = len(frames), frames.shape[2] // len(sound)
    margin = audio_samples(AUDIO_CONTEXT_FRAMES)
    columns = [_columns(clip[margin : clip.shape[0] - margin].cpu(), width, height) for clip in sound]
    still = repeat(torch.cat(columns, dim=1), "h w -> h w c", c=3)
    pictures = []
    for i in range(count):
        picture = still.clone()
        for clip in range(len(sound)):
            picture[:, clip * width + int((i + 0.5) * width / count)] = torch.tensor([220, 40, 40], dtype=torch.uint8)
        pictures.append(picture)
    return pictures


def _columns(sound: Tensor, width: int, height: int) -> Tensor:
    """[height, width] uint8: dark where the waveform's envelope reaches, a thin line where it is silent."""
    pieces = torch.tensor_split(sound.abs(), width)
    envelope = torch.stack([piece.max() for piece in pieces]) / sound.abs().max().clamp(min=1e-4)
    rows = (torch.arange(height) + 0.5 - height / 2).abs() / (height / 2)
    return torch.where(rearrange(rows, "h -> h 1") <= envelope.clamp(min=1.5 / height), 40, 240).to(torch.uint8)


def gif(frames: Sequence[np.ndarray] | np.ndarray, fps: int = FPS) -> bytes:
    """An endless GIF of frames [F, H, W, 3] uint8, in the nearest whole hundredths of a second a frame."""
    pictures = [Image.fromarray(frame) for frame in frames]
    stream = io.BytesIO()
    duration = round(100 / fps) * 10
    pictures[0].save(stream, "GIF", save_all=True, append_images=pictures[1:], duration=duration, loop=0)
    return stream.getvalue()


def _add_gif(writer: SummaryWriter, tag: str, frames: np.ndarray, step: int) -> None:
    """As an image summary, which TensorBoard plays; its own video writer needs another dependency."""
    height, width = frames.shape[1:3]
    image = Summary.Image(height=height, width=width, colorspace=3, encoded_image_string=gif(frames))
    writer._get_file_writer().add_summary(Summary(value=[Summary.Value(tag=tag, image=image)]), step)
