"""How the latents of one window are sampled."""

from dataclasses import dataclass

from torch import Tensor

from hallo3_lightning.animation.division import UNDIVIDED, Division
from hallo3_lightning.animation.prediction import prediction
from hallo3_lightning.animation.sampling import Sampling
from hallo3_lightning.animation.shortcuts import EXACT, Shortcuts
from hallo3_lightning.batch import Batch
from hallo3_lightning.denoiser import Denoiser
from hallo3_lightning.diffusion.process import Process
from hallo3_lightning.diffusion.sampler import sampler
from hallo3_lightning.diffusion.schedule import schedule
from hallo3_lightning.randomness import normal


@dataclass(frozen=True)
class WindowSampling:
    """All that the latents of a window depend on beside its clip; see Animator for what each is."""

    denoiser: Denoiser
    process: Process
    sampling: Sampling
    seed: int
    shortcuts: Shortcuts = EXACT
    division: Division = UNDIVIDED

    def latents(self, clip: Batch, window: int) -> Tensor:
        """Latents [B, T, c, h, w] of a clip with all its conditions, from noise that the window's number names."""
        positions, beside = clip.positions, clip.motion_latents
        assert positions is not None
        assert beside is not None

        def noise(draw: int) -> Tensor:
            return normal(beside.shape[1:], self.seed, f"sampling {window}", positions, draw)

        visited = schedule(self.process, self.sampling.steps, self.sampling.oddities)
        with self.division.window(clip, window):
            predict = prediction(self.denoiser, clip, self.sampling, self.shortcuts, self.division)
            return sampler(self.sampling.sampler)(predict, noise, visited)
