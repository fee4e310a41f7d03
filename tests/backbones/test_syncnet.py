"""Offsets planted in embeddings, and in pictures and sound for a network whose outputs are known functions of them."""

import pickle

import numpy as np
import pytest
import torch
from torch import nn

from hallo3_lightning.backbones.lip_sync import LipSync, lip_sync
from hallo3_lightning.backbones.syncnet import Embeddings, SyncNet, agreement, distances, embeddings
from hallo3_lightning.backbones.weight_files import SYNCNET
from hallo3_lightning.errors import UsageError

pytestmark = pytest.mark.filterwarnings("ignore:.*is not the published")

FRAMES = 28


def planted(offset: int, windows: int = 40) -> Embeddings:
    """Lips i match the sound of window i - offset."""
    series = torch.randn(windows + 30, 7, generator=torch.Generator().manual_seed(3))
    return Embeddings(series[15 : 15 + windows], series[15 + offset : 15 + offset + windows])


@pytest.mark.parametrize("offset", [-15, -4, 0, 1, 15])
@pytest.mark.parametrize("only_sound_there", [True, False])
def test_a_planted_offset_is_found(offset, only_sound_there):
    found = agreement(distances(planted(offset)), only_sound_there=only_sound_there)
    assert found.offset_frames == offset
    assert found.confidence > 1
    if only_sound_there:
        assert found.distance < 1e-4


def test_comparisons_beyond_the_ends_count_in_the_reference_alone():
    found = planted(0)
    louder = Embeddings(found.lips * 9, found.sound * 9)
    whole, there = (agreement(distances(louder), only_sound_there=told) for told in (False, True))
    assert whole.by_shift[15] == pytest.approx(float(there.by_shift[15]))
    expected = (louder.lips[:25] - louder.sound[15:]).norm(dim=1)
    assert there.by_shift[-1] == pytest.approx(float(expected.mean()), rel=1e-5)
    beyond = louder.lips[25:].norm(dim=1)
    assert whole.by_shift[-1] == pytest.approx(float((expected.sum() + beyond.sum()) / 40), rel=1e-5)


def test_few_windows_have_few_shifts():
    found = agreement(distances(planted(2, windows=6)), only_sound_there=True)
    assert (~found.by_shift.isnan()).nonzero().ravel().tolist() == list(range(12, 19))
    assert found.offset_frames == 2
    lone = agreement(distances(planted(2, windows=1)), only_sound_there=True)
    assert (lone.offset_frames, lone.confidence) == (0, 0)


def averaging() -> SyncNet:
    """A network that gives the mean brightness of five frames and, for sound, about the largest log energies of its
    0.2 s, in each of the 1024 numbers, scaled to be alike where brightness is 8 times the log energy."""
    network = SyncNet().eval()
    for module in network.modules():
        if isinstance(module, nn.Conv2d | nn.Conv3d | nn.Linear):
            nn.init.constant_(module.weight, 1 / module.weight[0].numel())
            nn.init.zeros_(module.bias)
        if isinstance(module, nn.Conv2d):  # of its place alone, and at last of the first cepstrum, the log energy
            only = torch.zeros_like(module.weight)
            place = (1, 1) if module.kernel_size == (3, 3) else (0, slice(None))
            only[:, :, *place] = module.weight[:, :, *place]
            module.weight = nn.Parameter(only)
    frames, sound = talk(np.full(11, 15.0))
    found = embeddings(network, frames_of(frames), sound)
    with torch.no_grad():
        network.netfclip[3].weight *= 15 / found.lips.mean()
        network.netfcaud[3].weight *= 15 / found.sound.mean()
    return network


def talk(loudness: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Grey frames [F, 60, 80, 3] and noise of a loudness [F] in log energy."""
    grey = np.round(loudness * 8).astype(np.uint8)
    frames = np.broadcast_to(grey[:, None, None, None], (len(grey), 60, 80, 3))
    noise = np.random.default_rng(0).normal(size=(len(loudness), 640))
    levels = np.exp(loudness / 2)[:, None] * noise / 30
    return frames, levels.ravel().round().astype(np.int16)


def frames_of(frames: np.ndarray) -> np.ndarray:
    return np.broadcast_to(frames[:, :1, :1], (len(frames), 224, 224, 3))


@pytest.fixture(scope="module")
def lips(tmp_path_factory) -> LipSync:
    folder = tmp_path_factory.mktemp("weights")
    torch.save(averaging().state_dict(), folder / SYNCNET.name)
    return lip_sync(folder)


def test_sound_that_comes_late_or_early_is_noticed(lips):
    loudness = 14.5 + np.convolve(np.random.default_rng(5).uniform(-4, 4, FRAMES + 16), np.ones(5) / 3, mode="valid")
    frames, sound = talk(loudness)
    boxes = np.tile([30.0, 15.0, 50.0, 37.0], (FRAMES, 1))
    for early in (4, -3):
        heard = sound[(6 + early) * 640 : (6 + early + FRAMES) * 640]
        found = pickle.loads(pickle.dumps(lips)).offset(frames[6 : 6 + FRAMES], heard, boxes)
        assert found.frames == early
        assert found.confidence > 0.1


def test_the_threads_around_it_change_nothing(lips):
    frames, sound = talk(np.linspace(11, 18, 12))
    boxes = np.tile([30.0, 15.0, 50.0, 37.0], (12, 1))
    before = torch.get_num_threads()
    confidences = set()
    try:
        for threads in (1, 2):
            torch.set_num_threads(threads)
            confidences.add(lips.offset(frames, sound, boxes).confidence)
            assert torch.get_num_threads() == threads
    finally:
        torch.set_num_threads(before)
    assert len(confidences) == 1


def test_too_few_frames_are_refused(lips):
    frames, sound = talk(np.full(5, 15.0))
    with pytest.raises(UsageError, match="needs 7 frames or more, got 5"):
        lips.offset(frames, sound, np.tile([30.0, 15.0, 50.0, 37.0], (5, 1)))
    frames, _ = talk(np.full(8, 15.0))
    with pytest.raises(UsageError, match="5 frames have both lips and sound; an offset needs 6"):
        lips.offset(frames, sound, np.tile([30.0, 15.0, 50.0, 37.0], (8, 1)))


def test_another_file_is_named(tmp_path):
    with pytest.raises(UsageError, match=f"needs {SYNCNET.name}"):
        lip_sync(tmp_path)
    file = tmp_path / SYNCNET.name
    for content, complaint in (
        (
            {"weight": torch.zeros(2)},
            r"of another network than SyncNet: of 88 tensors it lacks 88 \(.*, beside those it has 1 \(weight\)",
        ),
        ({"weight": "text"}, "something else than named tensors"),
        (SyncNet(), "something else than named tensors"),
    ):
        torch.save(content, file)
        with pytest.raises(UsageError, match=complaint):
            lip_sync(tmp_path)
    file.write_bytes(b"garbage" * 99)
    with pytest.raises(UsageError, match="is damaged"):
        lip_sync(tmp_path)
