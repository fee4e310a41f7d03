"""What is left of each clip that a run generates."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from einops import rearrange

from datamodules.video.video_file import VideoFile
from hallo3_lightning.batch import Batch
from hallo3_lightning.evaluation import tensor_file
from hallo3_lightning.geometry import AUDIO_CONTEXT_FRAMES, audio_samples
from hallo3_lightning.run_evaluation.clip_files import ClipFiles, Facts, box_of

FRAMES, HEIGHT, WIDTH = 5, 18, 14


def batch() -> Batch:
    draw = np.random.default_rng(3)
    mask = torch.zeros(1, 1, HEIGHT, WIDTH)
    mask[..., 3:11, 2:9] = 1
    samples = audio_samples(FRAMES + 2 * AUDIO_CONTEXT_FRAMES)
    return Batch(
        keys=("a",),
        video=torch.from_numpy(draw.integers(0, 256, (1, FRAMES, 3, HEIGHT, WIDTH), dtype=np.uint8)),
        waveform=torch.from_numpy(draw.uniform(-1, 1, (1, samples)).astype(np.float32)),
        face_mask=mask,
    )


def test_a_clip_is_there_when_all_of_it_is(tmp_path):
    files, clip = ClipFiles(tmp_path), batch()
    assert clip.video is not None
    facts = Facts("a", FRAMES, procedural=True, box=box_of(clip), borders=(3,), conditions={"yaw": 4.5})
    generated = 255 - clip.video
    assert files.facts("a") is None
    files.save(facts, clip, generated, {"scores/generated|psnr": torch.tensor([1.5])})
    assert files.facts("a") == facts
    assert facts.box == (2, 3, 9, 11)
    assert files.kept("a")["scores/generated|psnr"].tolist() == [1.5]
    for side, wanted in (("real", clip.video), ("fake", generated)):
        frames = VideoFile(files.side(side) / "a.mp4").frames()
        assert np.array_equal(frames, rearrange(wanted, "1 f c h w -> f h w c").numpy())
    record = tmp_path / "clips/a.safetensors"
    record.write_bytes(record.read_bytes()[:-7])
    assert files.facts("a") is None
    files.note(facts, {})
    (files.side("fake") / "a.mp4").unlink()
    assert files.facts("a") is None


@pytest.fixture
def made(tmp_path) -> ClipFiles:
    """With one clip, whole."""
    files, clip = ClipFiles(tmp_path), batch()
    assert clip.video is not None
    files.save(Facts("a", FRAMES), clip, 255 - clip.video, {"k": torch.zeros(1)})
    assert files.facts("a") is not None
    return files


@pytest.mark.parametrize("side", ["real", "fake"])
@pytest.mark.parametrize("same_size", [True, False])
def test_a_video_that_is_not_the_one_that_was_made_is_made_again(side, same_size, made):
    video = made.side(side) / "a.mp4"
    whole = video.read_bytes()
    video.write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]) if same_size else whole[:-9])
    assert made.facts("a") is None
    video.write_bytes(whole)
    assert made.facts("a") == Facts("a", FRAMES)


@pytest.mark.parametrize(
    "record",
    [
        {},
        {"facts": None},
        {"facts": []},
        {"facts": {"name": "a"}},
        {"facts": {"name": "a", "borders": [], "box": None, "new": 1}},
        {"facts": {"name": "a", "borders": [], "box": None, "frames": "5"}},
        {"facts": {"name": "a", "borders": [], "box": None, "conditions": [1]}},
        {"facts": {"name": "a", "borders": [], "box": None, "conditions": {"yaw": "1"}}},
    ],
    ids=str,
)
def test_a_record_of_another_form_is_made_anew(record, made):
    file = made.out / "clips/a.safetensors"
    told = tensor_file.record_of(file)
    assert told is not None
    tensor_file.write(file, {}, {"videos": told["videos"], **record})
    assert made.facts("a") is None


def test_whom_a_clip_shows_lies_beside_the_videos(tmp_path):
    (tmp_path / "real").mkdir()
    ClipFiles(tmp_path).write_known([Facts("a", identity="anna"), Facts("b")], with_faces=False)
    lines = (tmp_path / "real" / "conditions.jsonl").read_text().splitlines()
    assert [json.loads(line) for line in lines] == [{"clip": "a", "identity": "anna"}]


def test_a_clip_that_was_left_out_has_no_videos(tmp_path):
    files = ClipFiles(tmp_path)
    files.note(Facts("a", left_out="too short"), {})
    assert files.facts("a") == Facts("a", left_out="too short")


def test_what_data_know_lies_beside_the_videos(tmp_path):
    files = ClipFiles(tmp_path)
    for side in ("real", "fake"):
        files.side(side).mkdir()
    facts = [Facts("a", FRAMES, box=(2, 3, 9, 11), conditions={"yaw": 4.5}), Facts("b", left_out="torn")]
    files.write_known(facts, with_faces=True)
    for side in ("real", "fake"):
        (line,) = (files.side(side) / "faces.jsonl").read_text().splitlines()
        assert json.loads(line) == {"video": "a.mp4", "frame": 0, "faces": [{"box": [2, 3, 9, 11]}]}
    assert json.loads((files.side("real") / "conditions.jsonl").read_text()) == {"clip": "a", "yaw": 4.5}
    files.write_known([replace(one, conditions={}) for one in facts], with_faces=False)
    assert [path.name for path in tmp_path.rglob("*.jsonl")] == []
