"""The guided v of a window, from branches that share what does not differ."""

import torch
from torch import Tensor

from hallo3_lightning.animation.sampling import Sampling
from hallo3_lightning.batch import Batch, joined
from hallo3_lightning.conditioning.dropout import guided, without
from hallo3_lightning.denoiser import Denoiser
from hallo3_lightning.diffusion.sampler import Predict


def prediction(denoiser: Denoiser, clip: Batch, sampling: Sampling) -> Predict:
    """The guided v of noisy latents under the conditions of a clip; what no step changes is computed here, once."""
    branches = [clip] if sampling.guidance == 1 else [without(clip, sampling.guided), clip]
    both = joined(branches)
    assert both.motion_latents is not None
    conditions = denoiser.prepared(denoiser.branch_signals(branches), both.motion_latents)

    def predict(noisy: Tensor, step: int) -> Tensor:
        steps = torch.full((len(both),), step, device=noisy.device)
        parts = denoiser(torch.cat([noisy] * len(branches)), steps, both, conditions).chunk(len(branches))
        return parts[0] if len(parts) == 1 else guided(parts[0], parts[1], sampling.guidance)

    return predict
