"""Phase 2: audio conditioners learn to move the mouth of a video that phase 1 learned to show."""

from collections.abc import Sequence
from typing import Any

from hallo3_lightning.errors import UsageError
from hallo3_lightning.training.phase import Phase


class AudioPhase(Phase):
    """Starts from phase 1 and trains what the audio strategy brings.

    Args:
        audio: how audio reaches the video: a file in conditioning/audio, several joined by "+", or none.
        trainable: anchored globs of the denoiser's parameters that train; each must match.
        init_from: phase 1: a checkpoint, a run's folder, or the config files whose run this one starts from.
    """

    def __init__(
        self,
        audio: str = "cross_attention",
        trainable: Sequence[str] = ("conditioners.audio_*", "transformer.transformer_blocks.*.adapters.audio_*"),
        init_from: str | list[str] | None = None,
        **settings: Any,
    ) -> None:
        if init_from is None:
            raise UsageError(
                "the audio phase starts from phase 1 and none is given; name its checkpoint, its run's folder or its "
                "config with --model.init_from (make one with `hallo3 fit --config experiments/tiny/identity.yaml`)"
            )
        super().__init__(audio=audio, trainable=trainable, init_from=init_from, **settings)
