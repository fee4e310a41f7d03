"""What all phases share: the denoiser, the frozen encoders, the loss, and how clips are generated and scored."""

from collections.abc import Sequence
from typing import Any

import torch
from lightning import LightningModule
from torch import Tensor

from datamodules.cached import refuse_other_encoders
from datamodules.talking_head import data_parallel_place
from hallo3_lightning.animation.animator import Animator, Continuation
from hallo3_lightning.animation.sampling import Sampling
from hallo3_lightning.animation.windows import check_blend_frames, check_motion_frames, windows
from hallo3_lightning.batch import Batch
from hallo3_lightning.conditioning.conditioner import Inputs
from hallo3_lightning.conditioning.dropout import Dropout, dropped
from hallo3_lightning.conditioning.motion import Corruption, corrupted, padded, with_reference
from hallo3_lightning.denoiser import denoiser_of
from hallo3_lightning.diffusion.process import Process, loss_by_clip
from hallo3_lightning.errors import UsageError
from hallo3_lightning.evaluation.clip_mean import ClipMean
from hallo3_lightning.evaluation.protocol import Evaluation, Protocol, scorable
from hallo3_lightning.geometry import pixel_frames
from hallo3_lightning.model.frozen import Encoders, FrozenEncoders, signed
from hallo3_lightning.model.transformer import Backbone
from hallo3_lightning.randomness import normal, whole
from hallo3_lightning.training.average import Average
from hallo3_lightning.training.blank import fill, is_blank, refuse_unfillable
from hallo3_lightning.training.checkpoints import refuse_another_model
from hallo3_lightning.training.optimization import Optimization, optimizer_for
from hallo3_lightning.training.parallel import Sharded, keep_buffers
from hallo3_lightning.training.start import starting_weights
from hallo3_lightning.training.trainable import leave_out, set_trainable

UNSCORED_FRAMES = 4
"""Leading frames of an evaluated clip that no arm is scored on: as many as the most motion frames of any arm."""

VALIDATED = ("mouth_correlation", "psnr")
"""Metrics whose curve over training is worth its cost."""


class Phase(LightningModule):
    """Trains some parameters of a denoiser on v-prediction.

    Args:
        backbone: sizes of the transformer.
        inputs: sizes of what encoders and shards give.
        encoders: the frozen encoders and their folders.
        identity: how identity reaches the video: a file in conditioning/identity, several joined by "+", or none.
        audio: how audio reaches the video: a file in conditioning/audio, several joined by "+", or none.
        options: options of the strategies, by name of file.
        motion_frames: frames carried over from the last window.
        corruption: how motion frames are disturbed.
        dropout: how often each condition is absent in training.
        optimization: optimizer and schedule.
        sampling: how clips are generated for validation and test.
        trainable: anchored globs of the denoiser's parameters that train; each must match.
        init_from: a checkpoint, a folder of weights, a run's folder, or the config files whose run this one starts from,
            and settings that change them (`--model.motion_frames=4`).
        average_decay: decay of the moving average of the parameters; validation and test use the average.
        seed: of every draw.
    """

    def __init__(
        self,
        backbone: Backbone = Backbone(),  # noqa: B008
        inputs: Inputs = Inputs(),  # noqa: B008
        encoders: Encoders = Encoders(),  # noqa: B008
        identity: str = "reference_network+face_attention",
        audio: str = "none",
        options: dict[str, dict[str, Any]] | None = None,
        motion_frames: int = 2,
        corruption: Corruption = Corruption(),  # noqa: B008
        dropout: Dropout = Dropout(),  # noqa: B008
        optimization: Optimization = Optimization(),  # noqa: B008
        sampling: Sampling = Sampling(),  # noqa: B008
        trainable: Sequence[str] = ("*",),
        init_from: str | list[str] | None = None,
        average_decay: float = 0.999,
        seed: int = 0,
    ) -> None:
        super().__init__()
        check_motion_frames(motion_frames, motion_frames, pixel_frames(backbone.latent_frames))
        check_blend_frames(sampling.blend_frames, motion_frames, pixel_frames(backbone.latent_frames))
        self.inputs, self.motion_frames, self.corruption, self.rates = inputs, motion_frames, corruption, dropout
        self.optimization, self.sampling, self.seed = optimization, sampling, seed
        self.denoiser = denoiser_of(backbone, inputs, identity, audio, options)
        assert not isinstance(init_from, list), "the command line turns config files into the checkpoint of their run"
        self.given = {} if init_from is None else starting_weights(self.denoiser, init_from)
        if is_blank(self.denoiser):
            refuse_unfillable(self.denoiser)
        else:
            self.denoiser.load_state_dict(self.given, strict=False)
            self.given = {}
        set_trainable(self.denoiser, trainable)
        self.trained = leave_out(self.denoiser, self.denoiser.unread())
        self.average = Average(self.denoiser, average_decay)
        with torch.device("cpu"):  # these have their numbers also where the denoiser is built without
            self.process = Process()
            self.validation_loss = ClipMean()
            self.encoders = FrozenEncoders(encoders, backbone.text_tokens, backbone.text_width)
        self.placed = False
        keep_buffers(self)
        self._check_inputs()

    def setup(self, stage: str) -> None:
        """Signals that were computed ahead must be those that these encoders compute."""
        refuse_other_encoders(getattr(self.trainer.datamodule, "cache", ()), self.encoders)  # type: ignore[attr-defined]

    def configure_model(self) -> None:
        """Lightning asks before each verb: the denoiser takes its place on the ranks, and its numbers if it has none."""
        if self.placed:
            return
        strategy = self.trainer.strategy
        if isinstance(strategy, Sharded):
            strategy.shard(self.denoiser, self.given, self.seed)
        else:
            fill(self.denoiser, self.denoiser, self.given, self.seed)
        self.average.follow(self.denoiser)
        self.given, self.placed = {}, True

    # -- training ------------------------------------------------------------------------------------------------

    def training_step(self, batch: Batch, batch_index: int) -> Tensor:
        clip = dropped(self.encoded(batch), self.rates, self.seed)
        loss = self.losses(clip, "training").mean()
        self.log("train/loss", loss, prog_bar=True)
        return loss

    def encoded(self, batch: Batch) -> Batch:
        """The batch with everything that the denoiser reads: latents, motion frames, text, audio."""
        assert batch.video is not None
        assert batch.reference is not None
        assert batch.positions is not None
        motion = signed(batch.video[:, : self.motion_frames])
        motion = corrupted(motion, self.corruption, self.seed, batch.positions, step=0, training=True)
        beside = self.encoders.video.encode(with_reference(signed(batch.reference), motion))
        clip = self.encoders.fill(batch)
        assert clip.latents is not None
        return clip.with_(motion_latents=padded(beside, clip.latents.shape[1]).detach())

    def losses(self, clip: Batch, purpose: str) -> Tensor:
        """The loss of each clip [B], its noise and diffusion step drawn from (seed, purpose, position)."""
        assert clip.latents is not None
        assert clip.positions is not None
        steps = whole(self.process.num_steps, self.seed, f"{purpose} step", clip.positions)
        noise = normal(clip.latents.shape[1:], self.seed, f"{purpose} noise", clip.positions)
        prediction = self.denoiser(self.process.noisy(clip.latents, noise, steps), steps, clip)
        return loss_by_clip(prediction, self.process.velocity(clip.latents, noise, steps))

    def optimizer_step(self, *args: Any, **kwargs: Any) -> None:
        """The average follows within the step, so that a checkpoint of the step holds it."""
        super().optimizer_step(*args, **kwargs)
        self.average.update(self.denoiser)

    def configure_optimizers(self) -> Any:
        return optimizer_for(self, self.optimization, int(self.trainer.estimated_stepping_batches))

    # -- validation and test -------------------------------------------------------------------------------------

    def on_validation_epoch_start(self) -> None:
        self.validation: Evaluation | None = None

    def validation_step(self, batch: Batch, batch_index: int) -> dict[str, Tensor]:
        """The loss, and one generated window of each clip with what can be scored of it."""
        assert batch.video is not None
        with self.average.applied(self.denoiser):
            losses = self.losses(self.encoded(batch), "validation")
        self.validation_loss.update(losses, batch)
        self.log("val/loss", self.validation_loss, prog_bar=True, batch_size=len(batch))
        generated = self.animated(batch, self.clip_frames)
        if self.validation is None:
            self.validation = Evaluation(Protocol(metrics=scorable(batch, VALIDATED)))
        self.validation.update("generated", generated, batch, given=UNSCORED_FRAMES)
        return {"generated": generated}

    def on_validation_epoch_end(self) -> None:
        report = self.validation.report() if self.validation is not None else {"metrics": {}}
        for name, score in report["metrics"].items():
            self.log(f"val/{name}", score["value"])

    def on_test_epoch_start(self) -> None:
        self.evaluation: Evaluation | None = None

    def test_step(self, batch: Batch, batch_index: int) -> dict[str, Tensor]:
        """Generate the held-out clips from their first frames, and score them against the truth."""
        assert batch.video is not None
        if self.evaluation is None:
            self.evaluation = Evaluation(self.protocol(batch))
        total = batch.video.shape[1]
        generated = self.animated(batch, total)
        reconstruction = self.reconstructed(batch.video)
        borders = tuple(w.start + w.kept_from for w in windows(total, self.clip_frames, self.motion_frames)[1:])
        for source, video in (("generated", generated), ("reconstruction", reconstruction)):
            self.evaluation.update(source, video, batch, given=UNSCORED_FRAMES, borders=borders)
        return {"generated": generated, "reconstruction": reconstruction}

    def predict_step(self, batch: Batch, batch_index: int) -> Tensor:
        """Held-out clips [B, F, 3, H, W] uint8 generated from their first frames, without a look at the rest."""
        assert batch.video is not None
        return self.animated(batch, batch.video.shape[1])

    def animated(self, batch: Batch, total_frames: int) -> Tensor:
        """Generated frames [B, F, 3, H, W] uint8 with averaged weights; the clip's own first ones are motion frames."""
        assert batch.video is not None
        animator = Animator(
            self.denoiser,
            self.encoders,
            self.process,
            self.clip_frames,
            self.motion_frames,
            self.corruption,
            self.sampling,
            self.seed,
        )
        with self.average.applied(self.denoiser):
            return animator.video(batch, total_frames, Continuation(0, batch.video[:, : self.motion_frames]))

    def reconstructed(self, video: Tensor) -> Tensor:
        """The autoencoder's own version of a video [B, F, 3, H, W] uint8: the ceiling of any arm.

        Window by window as in sampling, the last one filled up with its last frame to a length the autoencoder takes.
        """
        parts = []
        for w in windows(video.shape[1], self.clip_frames, self.motion_frames):
            missing = w.start + self.clip_frames - w.stop
            window = torch.cat([video[:, w.start : w.stop], *[video[:, w.stop - 1 : w.stop]] * missing], dim=1)
            frames = self.encoders.decode(self.encoders.video.encode(signed(window)))
            parts.append(frames[:, w.kept_from : w.stop - w.start])
        return torch.cat(parts, dim=1)

    def protocol(self, batch: Batch) -> Protocol:
        """How this run is evaluated, by every metric that data like this batch allow."""
        data = self.trainer.datamodule  # type: ignore[attr-defined]
        _, ranks = data_parallel_place(self.trainer)
        return Protocol(
            clips=min(data.num_test_clips, data.eval_batch_size * sum(map(int, self.trainer.num_test_batches)) * ranks),
            frames=data.eval_frames,
            guidance=self.sampling.guidance,
            sampler_steps=self.sampling.steps,
            sampler=self.sampling.sampler,
            metrics=scorable(batch, Protocol.metrics),
        )

    # -- state ---------------------------------------------------------------------------------------------------

    @property
    def clip_frames(self) -> int:
        return pixel_frames(self.denoiser.transformer.backbone.latent_frames)

    def check(self, batch: Batch) -> None:
        """Before the first step: the batch has every field that the denoiser and its conditioners read."""
        batch.require(("video", "reference", "captions", "positions"), "training")
        assert batch.video is not None
        if batch.video.shape[1] < self.motion_frames:
            raise UsageError(
                f"clips carry {batch.video.shape[1]} frames of video beside their cached latents, model.motion_frames is "
                f"{self.motion_frames}; set data.leading_frames to at least as many"
            )
        clip = self.encoded(batch)
        for name, needs in self.denoiser.needs.items():
            clip.require(needs, f"{name} (--model.{name.split('_')[0]})")
        assert clip.latents is not None
        have, want = tuple(clip.latents.shape[1:]), self._latent_shape()
        if have != want:
            raise UsageError(
                f"sample '{batch.keys[0]}' encodes to latents of {have} (frames, channels, height, width), the backbone "
                f"is built for {want}; set model.backbone and data.clip_frames to the same sizes"
            )
        read = {field for needs in self.denoiser.needs.values() for field in needs}
        face = None if batch.face_embedding is None else batch.face_embedding.shape[-1]
        if "face_embedding" in read and face != self.inputs.face_width:
            raise UsageError(
                f"sample '{batch.keys[0]}' has a face embedding of {face} numbers, model.inputs.face_width says "
                f"{self.inputs.face_width}; set it to {face}"
            )

    def state_dict(self, *args: Any, **kwargs: Any) -> dict[str, Any]:  # type: ignore[override]
        """Without the frozen encoders, which are read from their folders."""
        return {k: v for k, v in super().state_dict(*args, **kwargs).items() if not k.startswith("encoders.")}

    def load_state_dict(self, state_dict: Any, strict: bool = True, assign: bool = False) -> Any:
        if strict:
            refuse_another_model(self, state_dict, "the checkpoint")
        return super().load_state_dict(state_dict, strict=False, assign=assign)

    def _latent_shape(self) -> tuple[int, int, int, int]:
        size = self.denoiser.transformer.backbone
        return size.latent_frames, size.latent_channels, size.latent_height, size.latent_width

    def _check_inputs(self) -> None:
        audio, text, size = self.encoders.audio, self.encoders.text, self.denoiser.transformer.backbone
        have = (audio.layers, audio.channels, text.width)
        want = (self.inputs.audio_layers, self.inputs.audio_channels, size.text_width)
        if have != want:
            raise UsageError(
                f"the encoders give (audio layers, audio channels, text width) {have} but model.inputs and "
                f"model.backbone.text_width say {want}; make them agree"
            )
