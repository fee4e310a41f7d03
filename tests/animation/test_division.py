"""Branches of guidance over processes: threads here, which exchange over gloo as processes do."""

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
import torch
import torch.distributed as dist
from torch import Tensor

from hallo3_lightning.animation.animator import Animator
from hallo3_lightning.animation.division import OverRanks, Undivided, share
from hallo3_lightning.animation.guidance import chain
from hallo3_lightning.animation.prediction import prediction
from hallo3_lightning.animation.shortcuts import EXACT, Shortcuts
from hallo3_lightning.animation.window_sampling import WindowSampling
from hallo3_lightning.animation.windows import windows
from hallo3_lightning.batch import Batch
from hallo3_lightning.errors import UsageError
from hallo3_lightning.model.frozen import signed
from tests import tiny
from tests.animation.tiny_animator import CLIP, portraits

TWO = 2.0
THREE = {"text": 2.0, "audio": 4.0}
FOUR = {"text": 2.0, "audio": 4.0, "identity": 3.0}


def on_ranks(ranks: int, played: Callable[[OverRanks], Any], patience_s: float = 20) -> list[Any]:
    """What each rank gives, in their order; the error of one is its result."""
    store = dist.HashStore()

    def group(name: str, rank: int) -> Any:
        own = dist.PrefixStore(name, store)
        return dist.ProcessGroupGloo(own, rank, ranks, timedelta(seconds=patience_s))

    def one(rank: int) -> Any:
        patience = timedelta(seconds=patience_s)
        division = OverRanks(group("steps", rank), group("windows", rank), patience, patience)
        try:
            with torch.no_grad():
                return played(division)
        except UsageError as error:
            return error

    with ThreadPoolExecutor(ranks) as threads:
        return list(threads.map(one, range(ranks)))


class Alone(Undivided):
    """One process that evaluates some of the branches, and repeats their answers for those of the others."""

    def __init__(self, rank: int, ranks: int) -> None:
        self.part = rank, ranks
        self.answers: Tensor | None = None

    def own(self, branches: Sequence[Batch]) -> Sequence[Batch]:
        return branches[share(len(branches), *self.part)]

    def every(self, own: Tensor, branches: int) -> Sequence[Tensor]:
        self.answers = own
        return [own[:2]] * branches


def filled(animator: Animator) -> Batch:
    clip = animator.encoders.fill(portraits(CLIP))
    beside = signed(torch.stack([clip.reference] * CLIP, dim=1))
    return clip.with_(motion_latents=animator.encoders.video.encode(beside))


@pytest.mark.parametrize("count", range(1, 8))
@pytest.mark.parametrize("ranks", range(1, 5))
def test_shares_are_neighbours_and_all_of_them_and_differ_by_one_at_most(count, ranks):
    shares = [list(range(count)[share(count, rank, ranks)]) for rank in range(ranks)]
    assert [branch for one in shares for branch in one] == list(range(count))
    assert max(map(len, shares)) == -(-count // ranks)
    assert max(map(len, shares)) - min(map(len, shares)) <= 1


@torch.no_grad()
@pytest.mark.parametrize("ranks", [2, 3])
@pytest.mark.parametrize("guidance", [TWO, THREE, FOUR], ids=["two", "three", "four"])
def test_all_have_one_v_which_is_that_of_the_shares_to_the_bit_and_of_one_batch_by_rounding(guidance, ranks, animator):
    links, sampling = chain(guidance, ("text", "audio")), replace(animator.sampling, guidance=guidance)
    if ranks > links.num_branches:
        return
    clip = filled(animator)
    noisy = tiny.draw(*clip.motion_latents.shape, name="noisy")
    found = on_ranks(ranks, lambda over: prediction(animator.denoiser, clip, sampling, EXACT, over)(noisy, 700))
    alone = [Alone(rank, ranks) for rank in range(ranks)]
    for one in alone:
        prediction(animator.denoiser, clip, sampling, EXACT, one)(noisy, 700)
    answers = torch.cat([one.answers for one in alone]).chunk(links.num_branches)
    assert all(torch.equal(v, links.guided(answers)) for v in found)
    together = prediction(animator.denoiser, clip, sampling)(noisy, 700)
    torch.testing.assert_close(found[0], together, rtol=1e-5, atol=1e-5)
    assert (answers[0] - answers[-1]).abs().max() > 1e-2


@torch.no_grad()
def test_late_steps_without_guidance_are_the_same_on_every_rank(animator):
    clip, sampling, late = filled(animator), replace(animator.sampling, guidance=THREE), Shortcuts(unguided=0.4)
    noisy = tiny.draw(*clip.motion_latents.shape, name="noisy")
    found = on_ranks(2, lambda over: prediction(animator.denoiser, clip, sampling, late, over)(noisy, 399))
    alone = prediction(animator.denoiser, clip, sampling, late)(noisy, 399)
    assert torch.equal(found[0], found[1])
    torch.testing.assert_close(found[0], alone, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("guidance", [TWO, THREE], ids=["two", "three"])
def test_a_video_over_ranks_is_the_video_and_the_others_need_the_denoiser_alone(guidance, animator):
    animator = replace(animator, sampling=replace(animator.sampling, guidance=guidance))
    batch, total = portraits(CLIP + 9), CLIP + 9

    def played(over: OverRanks) -> Tensor | int:
        if over.rank == 0:
            video = replace(animator, division=over).video(batch, total)
            over.end()
            return video
        sampling = WindowSampling(animator.denoiser, animator.process, animator.sampling, animator.seed, EXACT, over)
        return len([sampling.latents(clip, index) for clip, index in over.windows()])

    video, made = on_ranks(2, played)
    assert made == len(windows(total, CLIP, 2))
    difference = (video.int() - animator.video(batch, total).int()).abs()
    assert difference.max() <= 1, "a rounding at most: other batch sizes add up in other orders"


def test_what_cannot_be_divided_is_told_by_the_first_alone():
    def begun(shortcuts: Shortcuts) -> Callable[[OverRanks], str | None]:
        def played(over: OverRanks) -> str | None:
            if over.rank:
                return over.begun()
            try:
                over.begin(2, shortcuts, "bf16")
            finally:
                over.end()
            return None

        return played

    assert on_ranks(2, begun(Shortcuts(unguided=0.5))) == [None, "bf16"]
    refused, other = on_ranks(2, begun(Shortcuts(reuse=0.1)))
    assert str(refused).startswith("--reuse 0.1 goes by what changes in all branches")
    assert other is None
    assert str(on_ranks(3, begun(EXACT))[0]).startswith("3 processes for 2 branches of guidance")


def test_one_that_is_stuck_or_gone_ends_the_others_by_a_sentence():
    def played(over: OverRanks) -> Sequence[Tensor] | None:
        return over.every(torch.ones(1, 2), 2) if over.rank == 0 else None

    assert "has ended or does not answer" in str(on_ranks(2, played, patience_s=0.3)[0])


def test_behind_an_interrupted_window_the_first_waits_for_none_and_the_others_do_not_end_as_if_all_were_done():
    def played(over: OverRanks) -> int:
        if over.rank:
            return len(list(over.windows()))
        with pytest.raises(KeyboardInterrupt), over.window(Batch(keys=("one",)), 0):
            raise KeyboardInterrupt
        over.end()
        return 0

    first, other = on_ranks(2, played, patience_s=0.5)
    assert first == 0
    assert "has ended or does not answer" in str(other)
