"""Memory is estimated from what is counted, and no more is given up than it takes."""

from copy import deepcopy
from dataclasses import replace

import pytest
import torch
from torch import nn
from torch.profiler import ProfilerActivity, profile

from hallo3_lightning.animation.sampling import Sampling
from hallo3_lightning.animation.shortcuts import EXACT, Shortcuts
from hallo3_lightning.conditioning.dropout import without
from hallo3_lightning.errors import UsageError
from hallo3_lightning.film.budget import FORWARD, Needs, fitting, needs_of, parsed
from hallo3_lightning.film.placement import Placement
from hallo3_lightning.geometry import audio_samples
from hallo3_lightning.model.encoders.audio.log_mel import LogMel
from hallo3_lightning.model.encoders.video.patch import PatchAutoencoder
from hallo3_lightning.model.frozen import FrozenEncoders
from hallo3_lightning.model.reuse import Reuse
from hallo3_lightning.model.transformer import Stack, every_block
from tests import tiny
from tests.tiny import INPUTS, batch, denoiser

GB = 10**9
NEEDS = Needs(
    weights={"text": 19 * GB, "audio": GB, "video": GB, "denoiser": 40 * GB},
    conditions=2 * GB,
    channels=10**8,
    decoding=30 * GB,
    base=GB,
)
ON_GPU = Placement("cuda", "bf16-mixed")


def test_less_memory_gives_up_more_and_always_fits():
    given_up = []
    for limit in range(100 * GB, 28 * GB, -GB // 2):
        placement, told = fitting(NEEDS, limit, ON_GPU, free_precision=True)
        assert NEEDS.bytes(placement) <= limit
        assert told.startswith("--max-memory")
        given_up.append((len(placement.offloaded), placement.tiled, placement.precision == "bf16"))
    assert given_up == sorted(given_up)
    assert given_up[0] == (0, False, False)
    assert given_up[-1] == (4, True, True)


SMALL = Needs({"text": 4, "audio": 1, "video": 1, "denoiser": 7_200_000}, 218_000, 18_000, 1_000_000, 426_700_000)


@pytest.mark.parametrize("needs", [NEEDS, SMALL, replace(SMALL, base=989_300_000), replace(SMALL, base=995_300_000)])
def test_the_least_that_is_named_is_enough_on_another_day_and_not_much_more(needs):
    with pytest.raises(UsageError, match="takes about") as refused:
        fitting(needs, 10**6, ON_GPU, free_precision=True)
    least = parsed(str(refused.value).partition("takes about ")[2].partition(";")[0])
    other_day = replace(needs, base=needs.base + 4 * 10**6)
    _, told = fitting(other_day, least, ON_GPU, free_precision=True)
    assert parsed(told.partition(": ")[2].partition(" estimated")[0]) <= least
    digit = GB // 10 if least >= GB else GB // 1000
    with pytest.raises(UsageError):
        fitting(needs, least - 2 * digit - 5 * 10**6, ON_GPU, free_precision=True)


def test_a_precision_that_was_asked_for_stays():
    placement, _ = fitting(NEEDS, 60 * GB, ON_GPU, free_precision=False)
    assert placement.precision == "bf16-mixed"


def test_main_memory_is_no_place_to_wait_for_main_memory():
    placement, _ = fitting(NEEDS, 68 * GB, Placement("cpu", "32"), free_precision=True)
    assert placement.offloaded == ()


@pytest.mark.parametrize(
    ("told", "bytes_"), [("24GB", 24 * GB), ("1.5 GiB", 3 * 2**29), ("900mb", 9 * 10**8), ("8", 8 * GB)]
)
def test_amounts_are_read_with_their_units(told, bytes_):
    assert parsed(told) == bytes_


@pytest.mark.parametrize("told", ["", "much", "0GB", "-3GB", "3 TBB"])
def test_what_is_no_amount_is_said(told):
    with pytest.raises(UsageError, match="--max-memory"):
        parsed(told)


@pytest.mark.parametrize(("limit", "told"), [(1_000, "1 KB"), (999_000, "999 KB"), (5 * 10**6, "5 MB")])
def test_a_small_amount_is_told_in_its_own_unit(limit, told):
    with pytest.raises(UsageError, match=f"^--max-memory {told} is too little"):
        fitting(NEEDS, limit, ON_GPU, free_precision=True)


def test_main_memory_that_was_held_before_is_told_as_part_of_what_it_takes():
    with pytest.raises(UsageError, match=r"; \d+ MB of it this process has held already$|; .* GB of it this process"):
        fitting(NEEDS, GB, Placement("cpu", "32"), free_precision=True)


class Encoders(nn.Module):
    """Of the tiny kinds, where they have no files."""

    def __init__(self) -> None:
        super().__init__()
        self.video, self.text, self.audio = PatchAutoencoder(4, 4), nn.Linear(3, 5), LogMel(bands=7)


@pytest.fixture(scope="module")
def network():
    return denoiser("cross_attention", "reference_network+face_attention", width=128).eval().requires_grad_(False)


def needs(
    network: nn.Module,
    encoders: FrozenEncoders | Encoders,
    guidance: float,
    shortcuts: Shortcuts = EXACT,
    sound_frames: int = 0,
    on_gpu: bool = False,
) -> Needs:
    blank, sampling = deepcopy(network).to("meta"), Sampling(guidance=guidance)
    return needs_of(blank, encoders, INPUTS, sampling, on_gpu, shortcuts, sound_frames)  # type: ignore[arg-type]


def test_weights_conditions_and_branches_are_counted(network):
    one, two = (needs(network, Encoders(), guidance) for guidance in (1.0, 3.0))
    assert one.weights["denoiser"] == 4 * sum(parameter.numel() for parameter in network.parameters())
    assert one.weights["text"] == 4 * (3 * 5 + 5)
    assert two.conditions == 2 * one.conditions > 0
    assert two.channels == 2 * one.channels
    assert one.decoding == 16 * 40 * 1_000


def test_what_shortcuts_keep_is_counted(network):
    """A second set of conditions for the branch that runs alone, and activations of each branch for what is reused."""
    size, kept = network.transformer.backbone, {}
    for name, shortcuts in {
        "": EXACT, "unguided": Shortcuts(unguided=0.3), "reuse": Shortcuts(reuse=0.1), "both": Shortcuts(0.1, 0.3),
    }.items():  # fmt: skip
        kept[name] = needs(network, Encoders(), 3.0, shortcuts).conditions
    one = kept[""] // 2
    activation = 4 * size.width * size.latent_frames * size.patches
    assert kept["unguided"] - kept[""] == one
    assert kept["reuse"] - kept[""] == 2 * 3 * activation
    assert kept["both"] - kept[""] == one + 3 * 3 * activation
    assert needs(network, Encoders(), 1.0, Shortcuts(unguided=0.3)).conditions == one


def test_sound_is_counted_as_far_as_it_is_heard_at_once(network):
    """Its features stay beside all that works; encoding it is what works at a moment of its own."""
    none, some = (needs(network, Encoders(), 1.0, sound_frames=frames, on_gpu=True) for frames in (0, 10**6))
    assert some.base - none.base == 10**6 * 4 * 7 * 4
    assert some.bytes(ON_GPU) - some.base == 10**6 * 24_000 + sum(some.weights.values())
    assert none.hearing == 0


@pytest.mark.parametrize("frames", [20, 50])
def test_encoding_sound_takes_what_is_estimated(frames):
    sound = tiny.draw(1, audio_samples(frames), name="sound")
    measured = peak_bytes(lambda: LogMel().encode(sound))
    assert 0.8 * measured < frames * LogMel.hearing_bytes_per_frame < 1.2 * measured


def peak_bytes(work) -> int:
    """The most that was allocated at a time, by the allocator's own record."""
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as seen:
        work()
    events = [event for event in seen.profiler.kineto_results.events() if event.name() == "[memory]"]
    held = most = 0
    for event in sorted(events, key=lambda event: event.start_ns()):
        held += event.nbytes()
        most = max(most, held)
    return most


def test_a_forward_pass_takes_what_is_estimated(network):
    clip = batch(network.transformer.backbone)
    both = without(clip, ("text",))
    with torch.no_grad():
        conditions = network.prepared(network.signals(both), both.latents)
        measured = peak_bytes(lambda: network(both.latents, torch.tensor([300.0, 400.0]), both, conditions))
    estimated = needs(network, Encoders(), 3.0).channels * FORWARD["32"]
    assert 0.6 * measured < estimated < 1.7 * measured


def test_reusing_blocks_keeps_what_is_estimated():
    """The largest step of a network deep enough that all three activations lie there at once."""
    network = denoiser("cross_attention", "reference_network+face_attention", width=128, blocks=4)
    clip = batch(network.eval().requires_grad_(False).transformer.backbone)

    def steps(through: Stack) -> None:
        with torch.no_grad():
            for scale in (1, 3, -2):
                network(scale * clip.latents, torch.tensor([300.0, 400.0]), clip, None, through)

    more = peak_bytes(lambda: steps(Reuse(1e-9))) - peak_bytes(lambda: steps(every_block))
    kept = needs(network, Encoders(), 3.0, Shortcuts(reuse=0.1)).conditions - needs(network, Encoders(), 3.0).conditions
    assert 0.8 * more < kept < 1.4 * more, more
