"""Signals computed ahead are those computed on the way, and no others are believed."""

import io
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file

from datamodules import cache
from datamodules.bad_sample import BadSample
from datamodules.cache import Wanted, clip_starts, compute
from datamodules.cached import CACHE_FILE, WithSignals, joined, refuse_other_encoders
from datamodules.index import open_index
from datamodules.shards import encode, write_members, write_shard
from datamodules.synthetic.autoencoder import fit_autoencoder
from datamodules.synthetic.take import make_take
from datamodules.talking_head import TalkingHead
from datamodules.video.video_file import Mp4, write_mp4
from hallo3_lightning.errors import UsageError
from hallo3_lightning.geometry import AUDIO_CONTEXT_FRAMES
from hallo3_lightning.model.frozen import Encoders, FrozenEncoders

CLIP = 5
TAKES, FRAMES = 11, 9
"""Of the fixture `heads`, in shards of 4."""


@pytest.fixture(scope="module")
def autoencoder(heads, tmp_path_factory) -> str:
    whole = tmp_path_factory.mktemp("autoencoder")
    shutil.copytree(heads, whole / "heads")
    return str(fit_autoencoder(whole / "heads", patch=4, channels=6))


@pytest.fixture(scope="module")
def wanted(autoencoder) -> Wanted:
    encoders = Encoders("patch", autoencoder, "hashed_words", "", "log_mel", "")
    return Wanted(encoders, text_tokens=7, text_width=10, clip_frames=CLIP)


@pytest.fixture(scope="module")
def encoders(wanted) -> FrozenEncoders:
    return FrozenEncoders(wanted.encoders, wanted.text_tokens, wanted.text_width)


@pytest.fixture(scope="module")
def made(heads, wanted, tmp_path_factory) -> Path:
    """A cache of `heads`, made in one go."""
    out = tmp_path_factory.mktemp("cache") / "all"
    report = compute(str(heads), out, wanted, workers=1)
    assert (report.samples, report.computed, report.left_out) == (16, 16, {})
    return out


def files(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.glob("*/*.tar"))}


def with_cache(heads: Path, folder: Path, split: str = "train", frames: int = CLIP) -> WithSignals:
    return joined([open_index(heads / split)], [folder], split, [frames])[0]


def test_shards_and_keys_are_those_of_the_source(heads, made):
    for split in ("train", "held_out"):
        index, beside = open_index(heads / split), open_index(made / split)
        assert beside.shards == index.shards
        assert [beside.key(n) for n in range(len(beside))] == [index.key(n) for n in range(len(index))]


def test_a_clip_has_the_same_signals_as_on_the_way(heads, made, encoders):
    """Bit for bit in float32: latents and text; and sound but for the outer edge, where the clip's own context ends."""
    without = TalkingHead(str(heads), CLIP, batch_size=1, num_workers=0)
    cached = TalkingHead(str(heads), CLIP, batch_size=1, cache=[str(made)], leading_frames=2)
    plain, ahead = iter(without.train_dataloader()), iter(cached.train_dataloader())
    for _ in range(3 * TAKES):
        one, other = next(plain), next(ahead)
        assert (one.keys, one.starts.tolist()) == (other.keys, other.starts.tolist())
        assert other.video.shape[1] == 2
        expected = encoders.fill(one)
        assert torch.equal(other.latents, expected.latents)
        assert torch.equal(other.text_embeddings, expected.text_embeddings)
        inner = (slice(None), slice(None), slice(1, -1))
        torch.testing.assert_close(other.audio_features[inner], expected.audio_features[inner], rtol=1e-5, atol=1e-5)
        assert torch.equal(encoders.fill(other).latents, other.latents)


def test_held_out_clips_have_all_but_latents(heads, made):
    cached = TalkingHead(str(heads), CLIP, eval_batch_size=2, cache=[str(made)])
    batch = next(iter(cached.val_dataloader()))
    assert batch.latents is None
    assert batch.text_embeddings.shape == (2, 7, 10)
    assert batch.audio_features.shape == (2, CLIP, 5, 4, 24)
    assert batch.video.shape[1] == CLIP


def test_whole_takes_have_silence_on_either_side(heads, made):
    sample = with_cache(heads, made).read(3)
    assert sample.audio_features.shape == (FRAMES + 2 * AUDIO_CONTEXT_FRAMES, 4, 24)
    silence = np.log(1e-3) / 4
    np.testing.assert_allclose(sample.audio_features[[0, -1]][:, [0, -1]].min(), silence, atol=1e-3)


@given(st.integers(1, 60), st.integers(0, 12), st.integers(1, 12))
def test_clips_begin_evenly_from_the_first_to_the_last_place(frames, latents, clips):
    clip_frames = 1 + 4 * latents
    starts = clip_starts(frames, clip_frames, clips)
    possible = max(frames - clip_frames + 1, 0)
    assert len(starts) == min(clips, possible)
    if clips >= possible:
        assert starts == list(range(possible))
    if len(starts) > 1:
        assert (starts[0], starts[-1]) == (0, possible - 1)
        gaps = np.diff(starts)
        assert gaps.max() - gaps.min() <= 1


@pytest.mark.parametrize(("dtype", "error"), [("bfloat16", 2.0**-8), ("float16", 2.0**-11)])
def test_narrow_numbers_are_rounded_once(heads, made, wanted, tmp_path, dtype, error):
    compute(str(heads), tmp_path / "narrow", replace(wanted, dtype=dtype), workers=1)
    exact, narrow = with_cache(heads, made).read(5), with_cache(heads, tmp_path / "narrow").read(5)
    for name in ("audio_features", "text_embeddings"):
        np.testing.assert_allclose(getattr(narrow, name), getattr(exact, name), rtol=error)
        assert not np.array_equal(getattr(narrow, name), getattr(exact, name))
    np.testing.assert_array_equal(narrow.latents["starts"], exact.latents["starts"])
    sizes = [sum(map(len, files(folder).values())) for folder in (made, tmp_path / "narrow")]
    assert sizes[1] < 0.8 * sizes[0]


def test_several_caches_join(heads, wanted, tmp_path, made):
    for name in ("latents", "text", "audio"):
        compute(str(heads), tmp_path / name, replace(wanted, signals=(name,)), workers=1)
    assert not (tmp_path / "latents/held_out").exists()
    folders = [tmp_path / name for name in ("latents", "text", "audio")]
    one, other = (
        joined([open_index(heads / "train")], folders, "train", [CLIP])[0].read(9),
        with_cache(heads, made).read(9),
    )
    np.testing.assert_array_equal(one.latents["latents"], other.latents["latents"])
    np.testing.assert_array_equal(one.audio_features, other.audio_features)
    np.testing.assert_array_equal(one.text_embeddings, other.text_embeddings)


KILLED = """
import sys
from pathlib import Path
from datamodules.cache import Wanted, compute
from hallo3_lightning.model.frozen import Encoders

if __name__ == "__main__":
    heads, out, autoencoder = sys.argv[1:]
    wanted = Wanted(Encoders("patch", autoencoder, "hashed_words", "", "log_mel", ""), 7, 10, 5)
    compute(heads, Path(out), wanted, workers=2)
"""


def test_killed_and_resumed_with_other_workers_gives_the_same_bytes(heads, made, wanted, tmp_path):
    out, script = tmp_path / "cache", tmp_path / "killed.py"
    script.write_text(KILLED)
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, str(script), str(heads), str(out), wanted.encoders.video_folder]
    with subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL) as process:
        deadline = time.monotonic() + 120
        while not any(out.glob("train/*")) and time.monotonic() < deadline:
            time.sleep(0.005)
        process.send_signal(signal.SIGKILL)
    with pytest.raises(UsageError, match="is not finished; run its `hallo3 cache` again"):
        with_cache(heads, out)
    for left in files(out):
        assert files(out)[left] == files(made)[left]
    for _ in range(100):  # its workers end with it, and let the folder go
        try:
            compute(str(heads), out, wanted, workers=1)
            break
        except UsageError:
            time.sleep(0.1)
    assert files(out) == files(made)
    assert (out / CACHE_FILE).read_bytes() == (made / CACHE_FILE).read_bytes()


def test_what_is_there_is_not_computed_again(heads, made, wanted, tmp_path):
    out = tmp_path / "cache"
    shutil.copytree(made, out)
    (out / "train/train-00001.tar").unlink()
    (out / "train/train-00001.partial").write_bytes(b"left by a dead process")
    kept = {name: (out / name).stat().st_mtime_ns for name in files(out)}
    compute(str(heads), out, wanted, workers=1)
    assert files(out) == files(made)
    assert {name: (out / name).stat().st_mtime_ns for name in kept} == kept


# -- bad and unlike samples --------------------------------------------------------------------------------------


@pytest.fixture
def mixed(tmp_path) -> Path:
    """Four takes: one too short for a clip, one silent, one whose mp4 is damaged, one as it should be but of mp4."""
    takes = [make_take(5, number, frames=frames, size=16) for number, frames in enumerate((3, 7, 7, 7))]
    written = io.BytesIO()
    write_mp4(written, takes[3].video[:], key_frame_every=3)
    damaged = encode(takes[2])
    damaged["mp4"] = written.getvalue()[:-900]
    del damaged["video.npy"]
    samples = [encode(takes[0]), encode(replace(takes[1], waveform=None)), damaged]
    samples.append(encode(replace(takes[3], video=Mp4(written.getvalue()))))
    (tmp_path / "mixed/train").mkdir(parents=True)
    write_members(tmp_path / "mixed/train/a.tar", [(f"take{n}", members) for n, members in enumerate(samples)])
    return tmp_path / "mixed"


def test_each_sample_gets_the_signals_that_it_has_a_source_for(mixed, wanted, tmp_path):
    report = compute(str(mixed), tmp_path / "cache", wanted, workers=1)
    assert (report.samples, report.computed) == (4, 3)
    assert sum(report.left_out.values()) == 1
    index = with_cache(mixed, tmp_path / "cache")
    short, silent, whole = (index.read(number) for number in (0, 1, 3))
    assert short.latents is None
    assert len(short.audio_features) == 3 + 4
    assert silent.audio_features is None
    assert silent.latents["starts"].tolist() == whole.latents["starts"].tolist() == [0, 1, 2]
    with pytest.raises(BadSample, match=r"a\.tar: sample 'take2' has no signals in .*cache/train") as caught:
        index.read(2)
    assert (caught.value.reason, caught.value.key) == ("not in the cache", "take2")


def test_repeated_keys_keep_their_own_signals(wanted, tmp_path):
    folder = tmp_path / "twice"
    (folder / "train").mkdir(parents=True)
    for number, name in enumerate(("a.tar", "b.tar")):
        write_shard(folder / "train" / name, [replace(make_take(6, number, frames=7, size=16), key="same")])
    compute(str(folder), tmp_path / "cache", wanted, workers=1)
    index = with_cache(folder, tmp_path / "cache")
    assert [index.key(n) for n in range(2)] == ["same@a.tar", "same@b.tar"]
    one, other = (index.read(n).latents["latents"] for n in range(2))
    assert np.abs(one - other).max() > 0.1


# -- staleness ---------------------------------------------------------------------------------------------------


def test_other_shards_are_refused(heads, made, tmp_path):
    other = tmp_path / "other"
    shutil.copytree(heads, other)
    shutil.copy(heads / "held_out/held_out-00000.tar", other / "train/train-00000.tar")
    with pytest.raises(UsageError, match="was computed from other train shards"):
        with_cache(other, made)
    with pytest.raises(UsageError, match="was computed from other train shards"):
        TalkingHead(str(other), CLIP, cache=[str(made)]).first_batch()


def test_latents_of_other_clips_are_refused(heads, made):
    with pytest.raises(UsageError, match=r"latents of clips of 5 frames, clip_frames is 9; set it to 5"):
        with_cache(heads, made, frames=9)


def another(autoencoder: str, folder: Path, change: float) -> Encoders:
    shutil.copytree(autoencoder, folder)
    weights = load_file(folder / "model.safetensors")
    weights["mean"][3] += change
    save_file(weights, folder / "model.safetensors")
    return Encoders("patch", str(folder), "hashed_words", "", "log_mel", "")


def test_other_encoders_are_refused_and_the_same_elsewhere_are_not(made, autoencoder, tmp_path):
    same = FrozenEncoders(another(autoencoder, tmp_path / "same", 0.0), 7, 10)
    refuse_other_encoders([made], same)
    changed = FrozenEncoders(another(autoencoder, tmp_path / "changed", 1e-6), 7, 10)
    with pytest.raises(
        UsageError, match=r"computed by another video encoder \([0-9a-f]{16}\) than model\.encoders\.video"
    ):
        refuse_other_encoders([made], changed)
    longer = FrozenEncoders(another(autoencoder, tmp_path / "longer", 0.0), 8, 10)
    with pytest.raises(UsageError, match="another text encoder"):
        refuse_other_encoders([made], longer)


def test_what_is_no_cache_is_refused(heads, made, tmp_path):
    with pytest.raises(UsageError, match="is no cache: it has no cache.json; make one with: hallo3 cache"):
        with_cache(heads, tmp_path)
    for text, message in (("{", "is damaged"), ('{"recipe": {"signals": []}}', "is damaged")):
        (tmp_path / CACHE_FILE).write_text(text)
        with pytest.raises(UsageError, match=message):
            with_cache(heads, tmp_path)
    old = json.loads((made / CACHE_FILE).read_text())
    old["recipe"]["version"] = 0
    (tmp_path / CACHE_FILE).write_text(json.dumps(old))
    with pytest.raises(UsageError, match="another version"):
        with_cache(heads, tmp_path)


def test_a_folder_made_otherwise_is_refused(heads, made, wanted):
    with pytest.raises(UsageError, match=r"was made with other arguments \(clips 8 there, 3 asked for\)"):
        compute(str(heads), made, replace(wanted, clips=3), workers=1)
    with pytest.raises(UsageError, match=r"dtype float32 there, float16 asked for"):
        compute(str(heads), made, replace(wanted, dtype="float16"), workers=1)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"signals": ("latent",)}, "no signal 'latent' in --signals; did you mean 'latents'"),
        ({"clips": 0}, "--clips is 0"),
        ({"dtype": "float8"}, "no dtype 'float8' in --dtype; did you mean 'float"),
    ],
)
def test_wrong_arguments_are_one_sentence(heads, wanted, tmp_path, changes, message):
    with pytest.raises(UsageError, match=message):
        compute(str(heads), tmp_path / "cache", replace(wanted, **changes), workers=1)
    assert not (tmp_path / "cache").exists()


def test_shards_are_never_written_over(heads, wanted, tmp_path):
    shutil.copytree(heads, tmp_path / "copy")
    with pytest.raises(UsageError, match="none of ours; choose an empty folder"):
        compute(str(heads), tmp_path / "copy", wanted, workers=1)
    with pytest.raises(UsageError, match=r"neither train/\*\.tar nor held_out/\*\.tar"):
        compute(str(tmp_path), tmp_path / "none", wanted, workers=1)


def test_threads_are_left_as_they_were(heads, wanted, tmp_path):
    before = torch.get_num_threads()
    with cache._one_thread():
        assert torch.get_num_threads() == 1
    assert torch.get_num_threads() == before
