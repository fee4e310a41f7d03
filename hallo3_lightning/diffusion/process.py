"""The diffusion process: schedule, noising, target, loss."""

import torch
from einops import rearrange, reduce
from torch import Tensor, nn

NUM_STEPS = 1000


def scaled_linear_alphas(num_steps: int = NUM_STEPS, first: float = 0.00085, last: float = 0.012) -> Tensor:
    """Square roots of the cumulative alphas [S], float32: betas are squares of evenly spaced numbers, in float64.

    Source: latent diffusion (arXiv 2112.10752), with CogVideoX-5B's constants; its SNR shift of 1 changes nothing.
    """
    betas = torch.linspace(first**0.5, last**0.5, num_steps, dtype=torch.float64) ** 2
    rounded = (1 - betas).cumprod(0).float()  # as published: the roots are of float32 numbers
    return rounded.double().sqrt().float()  # not float32's own root, whose last digit depends on the machine


def with_zero_terminal_snr(sqrt_alphas: Tensor) -> Tensor:
    """Shift and scale square roots of alphas [S] so that the last step is pure noise and the first is unchanged.

    Source: arXiv 2305.08891, algorithm 1.
    """
    first, last = sqrt_alphas[0], sqrt_alphas[-1]
    return (sqrt_alphas - last) * (first / (first - last))


def sigma(alpha: Tensor) -> Tensor:
    """Deviation of the noise beside a signal scaled by alpha."""
    return (1 - alpha**2).sqrt()


class Process(nn.Module):
    """v-prediction with zero terminal SNR. Step 0 is the cleanest, the last is pure noise.

    Source: arXiv 2202.00512 (v), arXiv 2305.08891 (zero terminal SNR).
    """

    sqrt_alphas: Tensor
    plain_sqrt_alphas: Tensor
    """Before the last step was made pure noise."""

    def __init__(self) -> None:
        super().__init__()
        plain = scaled_linear_alphas()
        self.register_buffer("plain_sqrt_alphas", plain, persistent=False)
        self.register_buffer("sqrt_alphas", with_zero_terminal_snr(plain), persistent=False)

    @property
    def num_steps(self) -> int:
        return len(self.sqrt_alphas)

    def alpha(self, steps: Tensor) -> Tensor:
        """[B, 1, 1, 1, 1] for steps [B]."""
        return rearrange(self.sqrt_alphas[steps], "b -> b 1 1 1 1")

    def noisy(self, latents: Tensor, noise: Tensor, steps: Tensor) -> Tensor:
        """Latents [B, T, c, h, w] at steps [B]."""
        alpha = self.alpha(steps)
        return alpha * latents + sigma(alpha) * noise

    def velocity(self, latents: Tensor, noise: Tensor, steps: Tensor) -> Tensor:
        """The target v = alpha noise - sigma latents."""
        alpha = self.alpha(steps)
        return alpha * noise - sigma(alpha) * latents


def loss_by_clip(prediction: Tensor, target: Tensor) -> Tensor:
    """Mean squared error of each clip [B]; equals the published x0-error weighted by 1 / sigma^2."""
    return reduce((prediction.float() - target.float()) ** 2, "b t c h w -> b", "mean")
