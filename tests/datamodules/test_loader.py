"""What stands at a position, where samples are as they should be and where they are not."""

import os
import tarfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from datamodules.index import Index, open_index
from datamodules.loader import ATTEMPTS, HeldOutClips, TrainingClips
from datamodules.order import Mixture, ShardShuffle
from datamodules.shards import Sample, write_shard
from datamodules.sources import held_out_takes, training_takes
from datamodules.synthetic.take import make_take
from hallo3_lightning.batch import Batch
from hallo3_lightning.errors import UsageError
from hallo3_lightning.geometry import SAMPLES_PER_FRAME, latent_frames

FRAMES, TAKES, HARMED = 5, 9, 4


@pytest.fixture(scope="module")
def takes() -> list[Sample]:
    return [make_take(1, number, frames=8, size=16) for number in range(TAKES)]


def index_of(folder: Path, takes: list[Sample]) -> Index:
    write_shard(folder / "a.tar", takes[:4])
    write_shard(folder / "b.tar", takes[4:])
    return open_index(folder)


def training(index: Index, seed: int = 0) -> TrainingClips:
    order = ShardShuffle(index.samples_per_shard, seed)
    return TrainingClips(training_takes([index], [FRAMES], leading=3), Mixture([1], seed), [order], seed)


def position_of(clips: TrainingClips, number: int) -> int:
    return next(position for position in range(TAKES) if clips.wanted(position).number == number)


def equal(one: Batch, other: Batch) -> bool:
    tensors = [name for name in one.present() if isinstance(getattr(one, name), torch.Tensor)]
    return one.keys == other.keys and all(torch.equal(getattr(one, name), getattr(other, name)) for name in tensors)


def short(take: Sample) -> Sample:
    facts, sound = {**take.facts, "frames": 4}, take.waveform[: 4 * SAMPLES_PER_FRAME]
    return replace(take, facts=facts, video=take.video[:4], waveform=sound, truth=None)


def small(take: Sample) -> Sample:
    return replace(take, facts={**take.facts, "height": 14, "face_box": [2, 3, 9, 14]}, video=take.video[:, :14])


def without_face(take: Sample) -> Sample:
    return replace(take, face_embedding=None)


def without_box(take: Sample) -> Sample:
    return replace(take, facts={**take.facts, "face_box": None})


def without_sound(take: Sample) -> Sample:
    return replace(take, waveform=None)


def not_finite(take: Sample) -> Sample:
    return replace(take, face_embedding=np.full_like(take.face_embedding, np.inf))


def with_a_wider_face(take: Sample) -> Sample:
    return replace(take, face_embedding=np.ones(len(take.face_embedding) + 1, np.float32))


def of_another_rate(take: Sample) -> Sample:
    return replace(take, facts={**take.facts, "fps": 24})


HARMS = {
    short: ("too short", "has 4 frames, a clip of 5 was asked for"),
    small: ("other size", "is of 14 x 16 pixels, others are of 16 x 16"),
    without_face: ("missing field", "lacks face_embedding, which others of its data set have"),
    without_box: ("missing field", "lacks face_box"),
    without_sound: ("missing field", "lacks waveform"),
    not_finite: ("non-finite face_embedding", "face_embedding holds numbers that are not finite"),
    with_a_wider_face: ("other size", "has face_embedding [25], others of its data set [24]"),
    of_another_rate: ("wrong frame rate", "json says 24 frames a second"),
}


@pytest.mark.parametrize("harm", HARMS)
def test_another_sample_stands_in_for_a_bad_one_always_the_same(harm: Callable, takes, tmp_path):
    reason, said = HARMS[harm]
    harmed = [harm(take) if number == HARMED else take for number, take in enumerate(takes)]
    index = index_of(tmp_path, harmed)
    clips = training(index)
    position = position_of(clips, HARMED)
    batches = clips.__getitems__(list(range(TAKES)))
    (bad,) = (bad for batch in batches for bad in batch.bad)
    assert (bad.position, bad.attempt, bad.key, bad.reason) == (position, 0, takes[HARMED].key, reason)
    assert bad.shard == f"{tmp_path}/b.tar"
    assert f"{tmp_path}/b.tar: sample '{takes[HARMED].key}'" in bad.message
    assert said in bad.message
    assert batches[position].keys != (takes[HARMED].key,)
    assert batches[position].positions.tolist() == [position]
    assert equal(batches[position], training(open_index(tmp_path))[position])


def test_what_stands_in_is_drawn_anew_each_time(takes, tmp_path):
    harmed = [not_finite(take) if number == HARMED else take for number, take in enumerate(takes)]
    clips = training(index_of(tmp_path, harmed))
    positions = [p for p in range(40 * TAKES) if clips.wanted(p).number == HARMED]
    keys = [clips[position].keys[0] for position in positions]
    assert set(keys) == {take.key for number, take in enumerate(takes) if number != HARMED}


def test_undecodable_bytes_are_a_bad_sample(takes, tmp_path):
    index = index_of(tmp_path, takes)
    with tarfile.open(tmp_path / "b.tar") as tar:
        offset = tar.getmember(f"{takes[HARMED].key}.video.npy").offset_data
    with (tmp_path / "b.tar").open("r+b") as file:
        file.seek(offset)
        file.write(b"\x80\x04c__main__")
    clips = training(index)
    (bad,) = clips[position_of(clips, HARMED)].bad
    assert (bad.member, bad.reason) == ("video.npy", "undecodable member")


def test_an_outage_is_raised_and_nothing_stands_in(takes, tmp_path):
    index_of(tmp_path, takes)
    clips = training(open_index(tmp_path))  # which has opened a.tar alone
    (tmp_path / "b.tar").unlink()
    with pytest.raises(OSError, match="b.tar"):
        clips.__getitems__(list(range(TAKES)))


def test_bad_samples_without_end_stop_the_reading(takes, tmp_path):
    clips = training(index_of(tmp_path, [takes[0], *[not_finite(take) for take in takes[1:]]]))
    with pytest.raises(UsageError, match=f"{ATTEMPTS} samples in a row are bad, the last one so: .*not finite"):
        clips.__getitems__(list(range(200)))


def test_training_does_not_read_the_truth(takes, tmp_path):
    index = index_of(tmp_path, takes)
    clips = training(index)
    assert "truth.safetensors" not in clips.sources[0].form.members
    assert clips[0].truth is None
    assert held_out_takes(index, FRAMES).form.members[-1] == "truth.safetensors"


@pytest.mark.parametrize(
    "harm",
    [
        lambda truth: {name: track for name, track in truth.items() if name != "yaw"},
        lambda truth: {**truth, "yaw": np.stack([truth["yaw"]] * 2, axis=1)},
        lambda truth: {},
    ],
)
def test_truth_of_another_shape_is_noticed(harm, takes, tmp_path):
    harmed = [replace(take, truth=harm(take.truth)) if n == HARMED else take for n, take in enumerate(takes)]
    clips = HeldOutClips(held_out_takes(index_of(tmp_path, harmed), FRAMES), TAKES, seed=0)
    (bad,) = (bad for batch in clips.__getitems__(list(range(TAKES))) for bad in batch.bad)
    assert bad.reason == "other size"
    assert "truth." in bad.message


def test_held_out_clips_are_counted_once_and_bad_ones_never(takes, tmp_path):
    harmed = [not_finite(take) if number == HARMED else take for number, take in enumerate(takes)]
    clips = HeldOutClips(held_out_takes(index_of(tmp_path, harmed), FRAMES), count=TAKES - 1, seed=0)
    batches = clips.__getitems__(list(range(TAKES + 1)))
    counted = [bool(batch.counted) for batch in batches]
    assert counted == [number not in (HARMED, TAKES - 1, TAKES) for number in range(TAKES + 1)]
    assert [batch.positions.item() for batch in batches] == [0, 1, 2, 3, 5, 5, 6, 7, 0, 1]
    assert equal(batches[4], batches[5])
    assert equal(batches[8], batches[0])
    assert [bad.reason for batch in batches for bad in batch.bad] == ["non-finite face_embedding"]


@pytest.fixture
def cached(takes) -> list[Sample]:
    """The takes with signals computed ahead: numbers that say where they are from."""

    def signals(take: Sample) -> Sample:
        starts = np.array([0, 3])
        latents = np.random.default_rng(0).normal(size=(2, latent_frames(FRAMES), 3, 4, 6)).astype(np.float16)
        features = np.broadcast_to(np.arange(12, dtype=np.float16)[:, None, None], (12, 2, 7)).copy()
        text = np.full((4, 6), int(take.key), np.float32)
        return replace(
            take, latents={"starts": starts, "latents": latents}, audio_features=features, text_embeddings=text
        )

    return [signals(take) for take in takes]


def test_signals_computed_ahead_take_the_place_of_their_sources(cached, tmp_path):
    clips = training(index_of(tmp_path, cached))
    batches = clips.__getitems__(list(range(6 * TAKES)))
    assert {batch.starts.item() for batch in batches} == {0, 3}
    for batch in batches:
        sample = next(take for take in cached if take.key == batch.keys[0])
        start = batch.starts.item()
        assert batch.latents.dtype == batch.audio_features.dtype == torch.float32
        np.testing.assert_array_equal(batch.latents[0], sample.latents["latents"][[0, 3].index(start)])
        np.testing.assert_array_equal(batch.text_embeddings[0], sample.text_embeddings)
        np.testing.assert_array_equal(batch.video[0].permute(0, 2, 3, 1), sample.video[start : start + 3])
        rows = start + torch.arange(FRAMES)[:, None] + torch.arange(5)
        torch.testing.assert_close(batch.audio_features[0, :, :, 1, 6], rows.float())
        assert batch.audio_features.shape == (1, FRAMES, 5, 2, 7)
        assert batch.waveform is None


def test_held_out_clips_have_their_whole_video_beside_signals(cached, tmp_path):
    clip = HeldOutClips(held_out_takes(index_of(tmp_path, cached), 8), TAKES, seed=0)[2]
    assert clip.video.shape[1] == clip.audio_features.shape[1] == 8
    assert clip.latents is None
    assert clip.waveform is not None


def test_latents_of_other_clips_are_refused(cached, tmp_path):
    wrong = replace(
        cached[1], latents={name: part[:, :1] if part.ndim > 1 else part for name, part in cached[1].latents.items()}
    )
    clips = training(index_of(tmp_path, [cached[0], wrong, *cached[2:]]))
    (bad,) = clips[position_of(clips, 1)].bad
    assert bad.reason == "other size"
    assert "has latents of 1 frames, a clip of 5 has 2" in bad.message


@pytest.mark.parametrize(
    ("signal", "harm"),
    [
        ("text_embeddings", lambda text: text[:3]),
        ("audio_features", lambda features: features[:, :, :5]),
        ("latents", lambda latents: {**latents, "latents": latents["latents"][:, :, :2]}),
    ],
)
def test_signals_of_another_shape_are_noticed(signal, harm, cached, tmp_path):
    wrong = replace(cached[1], **{signal: harm(getattr(cached[1], signal))})
    clips = training(index_of(tmp_path, [cached[0], wrong, *cached[2:]]))
    (bad,) = clips[position_of(clips, 1)].bad
    assert bad.reason == "other size"
    assert f"has {signal} [" in bad.message


def test_mixture_says_what_it_does_not_use(takes, cached, tmp_path, caplog):
    untold = [replace(take, truth=None) for take in takes]
    for name, samples in (("bare", untold), ("cached", cached)):
        (tmp_path / name).mkdir()
        index_of(tmp_path / name, samples)
    indexes = [open_index(tmp_path / "bare"), open_index(tmp_path / "cached")]
    training_takes(indexes, [FRAMES, FRAMES], leading=3)
    warned = [record.getMessage() for record in caplog.records]
    assert len(warned) == 3
    assert warned[1].startswith(
        f"latents of {tmp_path}/cached is not used: {tmp_path}/bare of the same mixture has none"
    )
    caplog.clear()
    training_takes([indexes[1]] * 2, [FRAMES, FRAMES], leading=3)
    assert not caplog.records


def test_mixture_of_other_encoders_is_refused(cached, tmp_path):
    wider = [replace(take, text_embeddings=np.zeros((4, 7), np.float32)) for take in cached]
    for name, samples in (("narrow", cached), ("wide", wider)):
        (tmp_path / name).mkdir()
        index_of(tmp_path / name, samples)
    indexes = [open_index(tmp_path / "narrow"), open_index(tmp_path / "wide")]
    with pytest.raises(UsageError, match=r"text_embeddings is \[4, 7\] in .*wide and \[4, 6\] in .*narrow"):
        training_takes(indexes, [FRAMES, FRAMES], leading=3)


@pytest.mark.parametrize("signal", ["latents", "audio_features", "text_embeddings"])
def test_signals_that_are_not_finite_are_noticed(signal, cached, tmp_path):
    value = getattr(cached[0], signal)
    harmed = {**value, "latents": value["latents"] * np.float16(np.nan)} if signal == "latents" else value * np.nan
    clips = training(index_of(tmp_path, [cached[1], replace(cached[0], **{signal: harmed}), *cached[2:]]))
    (bad,) = clips[position_of(clips, 1)].bad
    assert bad.reason == f"non-finite {signal}"


def test_sources_of_a_mixture_share_their_fields(takes, cached, tmp_path):
    (tmp_path / "plain").mkdir()
    (tmp_path / "signals").mkdir()
    plain, signals = (
        index_of(tmp_path / "plain", [without_box(take) for take in takes]),
        index_of(tmp_path / "signals", cached),
    )
    orders = [ShardShuffle(index.samples_per_shard, 0) for index in (plain, signals)]
    clips = TrainingClips(training_takes([plain, signals], [FRAMES] * 2, 3), Mixture([1, 2], 0), orders, 0)
    batches = clips.__getitems__(list(range(12)))
    assert {batch.audio_features is None for batch in batches} == {True}
    assert {batch.face_mask is None for batch in batches} == {True}
    assert {batch.waveform is None for batch in batches} == {False}


def resident() -> int:
    """Bytes of this process in memory that are its own."""
    resident, shared = map(int, Path("/proc/self/statm").read_text().split()[1:3])
    return (resident - shared) * os.sysconf("SC_PAGE_SIZE")


@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="needs Linux's account of memory")
def test_reading_on_takes_no_more_memory(cached, tmp_path):
    clips = training(index_of(tmp_path, cached))
    read = 0
    for position in range(0, 4000, 8):
        read += len(clips.__getitems__(list(range(position, position + 8))))
        if position == 1000:
            before = resident()
    assert read == 4000
    assert resident() - before < 3 << 20, "1 kB a sample would show"
