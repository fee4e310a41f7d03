"""One film made by several processes, which share its branches of guidance."""

import signal
from dataclasses import replace

import torch
from rich.console import Console

from hallo3_lightning.animation.division import OverRanks
from hallo3_lightning.animation.window_sampling import WindowSampling
from hallo3_lightning.diffusion.process import Process
from hallo3_lightning.film.making import Made, make
from hallo3_lightning.film.placement import Placement, device_of
from hallo3_lightning.film.ranks import over_ranks, own_device
from hallo3_lightning.film.request import Request
from hallo3_lightning.film.trained import trained
from hallo3_lightning.training.launching import meet_anew


def make_together(request: Request, console: Console) -> Made | None:
    """This process's part: the first makes the film as `make` does, the others evaluate branches; None from those."""
    request = replace(request, device=own_device(request.device))
    meet_anew()
    with over_ranks(device_of(request.device)) as division:
        if division.rank == 0:
            return make(request, console, division)
        _help(request, division)
    return None


@torch.no_grad()
def _help(request: Request, division: OverRanks) -> None:
    """Sample every window that the first process tells of, with the denoiser alone: neither picture nor sound is read."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the first process, with which the others end
    network = trained(request.weights, request.configs, request.encoder_folders)
    sampling, device = request.changes.of(network.sampling), device_of(request.device)
    precision = division.begun()
    if precision is None:
        return
    placement = Placement(device, precision)
    denoiser, _ = network.denoiser(placement.dtype)
    denoiser.to(device)
    if request.compile:
        from hallo3_lightning.training.per_block import PerBlock  # late: Lightning takes seconds to import

        PerBlock("none", "inductor").arrange(denoiser)
    process = Process().to(device)
    sampled = WindowSampling(denoiser, process, sampling, request.seed, request.shortcuts, division)
    with placement.cast():
        for clip, index in division.windows():
            sampled.latents(clip.to(device), index)
