"""The guided v of a window, from branches that share what does not differ."""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from hallo3_lightning.animation.division import UNDIVIDED, Division
from hallo3_lightning.animation.guidance import Chain, chain
from hallo3_lightning.animation.sampling import Sampling
from hallo3_lightning.animation.shortcuts import EXACT, Shortcuts
from hallo3_lightning.batch import Batch, joined
from hallo3_lightning.denoiser import Denoiser
from hallo3_lightning.diffusion.process import NUM_STEPS
from hallo3_lightning.diffusion.sampler import Predict
from hallo3_lightning.model.reuse import Reuse
from hallo3_lightning.model.sites import Signal
from hallo3_lightning.model.transformer import Stack, every_block


def prediction(
    denoiser: Denoiser,
    clip: Batch,
    sampling: Sampling,
    shortcuts: Shortcuts = EXACT,
    division: Division = UNDIVIDED,
) -> Predict:
    """The guided v of noisy latents under the conditions of a clip; what no step changes is computed here, once.

    `division` says which branches are evaluated here, and where the answers to the others come from.
    """
    links = chain(sampling.guidance, sampling.guided)
    branches = links.branches(clip)
    own = division.own(branches)
    signals = denoiser.branch_signals(own)
    through = _stacks(shortcuts)
    guided = _of_branches(denoiser, own, signals, links, through(), division)
    if shortcuts.unguided == 0 or not links.links:
        return guided
    if own[-1] is branches[-1]:
        last = {name: _last(signal, len(own)) for name, signal in signals.items()}
    else:
        last = denoiser.branch_signals(branches[-1:])
    alone = _of_branches(denoiser, branches[-1:], last, Chain((), ()), through(), division)
    return lambda noisy, step: (alone if step < shortcuts.unguided * NUM_STEPS else guided)(noisy, step)


def _of_branches(
    denoiser: Denoiser,
    own: Sequence[Batch],
    signals: dict[str, Signal],
    links: Chain,
    through: Stack,
    division: Division,
) -> Predict:
    together = joined(own)
    assert together.motion_latents is not None
    conditions = denoiser.prepared(signals, together.motion_latents)

    def predict(noisy: Tensor, step: int) -> Tensor:
        steps = torch.full((len(together),), step, device=noisy.device)
        v = denoiser(torch.cat([noisy] * len(own)), steps, together, conditions, through)
        return links.guided(division.every(v, links.num_branches))

    return predict


def _stacks(shortcuts: Shortcuts) -> Callable[[], Stack]:
    """Makes a way through the blocks for each batch of branches: what one of them reuses is nothing to the other."""
    return (lambda: Reuse(shortcuts.reuse)) if shortcuts.reuse else (lambda: every_block)


def _last(signal: Signal, branches: int) -> Signal:
    """The rows of the last branch."""
    if isinstance(signal, tuple):
        return tuple(part.chunk(branches)[-1] for part in signal)
    return signal.chunk(branches)[-1]
