"""What is kept of a clip, and when it counts as nothing."""

from dataclasses import asdict

import pytest
import torch

from hallo3_lightning.evaluation import tensor_file
from hallo3_lightning.evaluation.folders import Video
from hallo3_lightning.evaluation.footage import Measured
from hallo3_lightning.evaluation.kept import Record, Store


@pytest.fixture
def kept(tmp_path):
    """A store with one feature of a clip, and the clip."""
    (tmp_path / "a.mp4").write_bytes(b"x")
    video = Video("fake", "a", tmp_path / "a.mp4", "a.mp4", None)
    store = Store(tmp_path / "features")
    store.save(video, video.state, 7, {"f/one": Measured({"rows": torch.ones(2, 3)})}, {"f/one": "v"}, ["short"])
    return store, video


def test_it_goes_on_with_what_is_kept(kept):
    store, video = kept
    assert store.record(video) == Record(video.state, 7, ("short",), {"f/one": "v"}, {"f/one": "measured"})
    assert store.missing(video, {"f/one": "v", "f/two": "v"}) == ["f/two"]
    video.path.write_bytes(b"other")
    assert store.record(video) is None


@pytest.mark.parametrize(
    "change",
    [
        {"notes": None},
        {"notes": [3]},
        {"frames": "7"},
        {"frames": True},
        {"video": 5},
        {"fingerprints": ["f/one"]},
        {"fingerprints": {}},
        {"statuses": {"f/one": None}},
        {"statuses": "f/one"},
        {"new": 1},
    ],
    ids=str,
)
def test_a_record_of_another_form_is_made_anew(change, kept):
    store, video = kept
    (file,) = store.folder.rglob("*.safetensors")
    record = asdict(store.record(video))
    changed = {key: value for key, value in {**record, **change}.items() if value is not None}
    tensor_file.write(file, tensor_file.tensors_of(file), changed)
    assert store.missing(video, {"f/one": "v"}) == ["f/one"]
    store.save(video, video.state, 7, {"f/one": Measured({"rows": torch.ones(2, 3)})}, {"f/one": "v"}, ["short"])
    assert asdict(store.record(video)) == record
