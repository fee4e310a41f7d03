"""The steps that a sampler visits: what the network is told, and how much signal is left at each."""

from dataclasses import dataclass

import torch
from torch import Tensor

from hallo3_lightning.diffusion.process import NUM_STEPS, Process, with_zero_terminal_snr
from hallo3_lightning.errors import UsageError


@dataclass(frozen=True)
class Oddities:
    """Where the published sampler departs from its own equations; each is off unless asked for.

    Source: the sampler and the denoiser that the published code takes from CogVideoX (SAT); effects are the relative
    change of a guided sample of 50 steps by a tiny network with random weights.

    Args:
        rescaled_on_subset: zero terminal SNR is made again on the visited steps alone, so that the integrator's
            alphas are not those the network was trained at (they differ by up to 6e-4). Effect 3e-3.
        nearest_alphas: the clean estimate is made with the nearest alpha of the training table, the integrator keeps
            its own; without `rescaled_on_subset` it changes nothing. Effect 3e-4.
        wasted_draws: from the second step on, noise is drawn twice and the first draw thrown away. It changes which
            noise a step gets, and nothing else.
    """

    rescaled_on_subset: bool = False
    nearest_alphas: bool = False
    wasted_draws: bool = False

    def draw(self, index: int) -> int:
        """Which draw is used at sampling step `index`; draw 0 is the initial noise."""
        return 1 + 2 * index if self.wasted_draws else 1 + index


@dataclass(frozen=True)
class Schedule:
    """K visited steps, the noisiest first.

    steps: training steps, as the network is told them.
    alphas: [K + 1] float64, square roots of cumulative alphas between which the integrator steps; the last is 1.
    clean_alphas: [K] float64, with which the clean latents are estimated.
    draws: index of the noise draw of each step.
    """

    steps: tuple[int, ...]
    alphas: Tensor
    clean_alphas: Tensor
    draws: tuple[int, ...]


def check_steps(sampling_steps: int, num_steps: int = NUM_STEPS) -> None:
    """Raise UsageError where no schedule has so many steps."""
    if not 1 <= sampling_steps <= num_steps:
        raise UsageError(f"{sampling_steps} sampling steps; give 1 to {num_steps}, the steps that the network knows")


def trailing_steps(sampling_steps: int, num_steps: int) -> list[int]:
    """Evenly spaced training steps, the last one (pure noise) first: 999, 979, ..., 19 for 50 of 1000.

    Source: arXiv 2305.08891, section 3.3, "trailing".
    """
    spacing = num_steps / sampling_steps
    return [round(num_steps - i * spacing) - 1 for i in range(sampling_steps)]


def schedule(process: Process, sampling_steps: int, oddities: Oddities = Oddities()) -> Schedule:
    """The trailing steps of a process, with its alphas or the published ones.

    A single step is from pure noise, which there is nothing to rescale by. Raises UsageError for impossible numbers.
    """
    check_steps(sampling_steps, process.num_steps)
    steps = trailing_steps(sampling_steps, process.num_steps)
    table = process.sqrt_alphas.cpu()
    alphas = table[steps]
    if oddities.rescaled_on_subset and sampling_steps > 1:
        alphas = with_zero_terminal_snr(process.plain_sqrt_alphas.cpu()[steps].flip(0)).flip(0)
    clean = nearest(alphas, table) if oddities.nearest_alphas else alphas
    draws = tuple(oddities.draw(index) for index in range(sampling_steps))
    return Schedule(tuple(steps), torch.cat([alphas, torch.ones(1)]).double(), clean.double(), draws)


def nearest(values: Tensor, table: Tensor) -> Tensor:
    """The entry of a table [S] nearest to each value [K]."""
    return table[(values[:, None] - table).abs().argmin(dim=1)]
