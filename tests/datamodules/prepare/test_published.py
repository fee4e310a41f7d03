import pickle

import numpy as np
import pytest
import torch
from PIL import Image

from datamodules.prepare.judge import Judge
from datamodules.prepare.published import PublishedFaces
from datamodules.prepare.settings import Settings
from datamodules.prepare.sources import find_sources
from datamodules.prepare.verdict import Dropped
from hallo3_lightning.errors import UsageError
from tests.datamodules.prepare.conftest import SIDE, take, write

FRAME = np.zeros((40, 30, 3), np.uint8)
IDENTITY = np.array([3.0, -4.5, 0.25], np.float32)


@pytest.fixture
def faces(tmp_path) -> PublishedFaces:
    mask = np.zeros((20, 15), np.uint8)
    mask[4:9, 3:10] = 255
    (tmp_path / "face_mask").mkdir()
    (tmp_path / "face_emb").mkdir()
    Image.fromarray(mask).save(tmp_path / "face_mask/0001.png")
    torch.save(IDENTITY, tmp_path / "face_emb/0001.pt")
    return PublishedFaces(tmp_path)


def test_the_rectangle_and_the_identity_are_read(faces):
    """The mask is half as large as the video's frames."""
    found = faces.faces(FRAME, "0001.mp4", 7)
    assert [face.box for face in found] == [(6, 8, 20, 18)]
    assert np.array_equal(faces.embedding(FRAME, found[0]), IDENTITY)
    assert faces.faces(FRAME, "0002.mp4", 0) == []


def test_an_empty_mask_is_no_face_and_a_missing_identity_is_none(faces):
    Image.fromarray(np.zeros((20, 15), np.uint8)).save(faces.folder / "face_mask/0002.png")
    Image.fromarray(np.full((20, 15), 255, np.uint8)).save(faces.folder / "face_mask/0003.png")
    assert faces.faces(FRAME, "0002.mp4", 0) == []
    assert [face.embedding for face in faces.faces(FRAME, "0003.mp4", 0)] == [None]


def test_what_is_told_of_a_video_is_that_of_the_bytes_of_its_files(faces):
    before = faces.told_of("0001.mp4")
    assert faces.told_of("0002.mp4") == ""
    torch.save(IDENTITY + 1, faces.folder / "face_emb/0002.pt")
    assert faces.told_of("0002.mp4") != ""
    assert PublishedFaces(faces.folder).told_of("0001.mp4") == before
    torch.save(IDENTITY + 1, faces.folder / "face_emb/0001.pt")
    assert faces.told_of("0001.mp4") != before


def test_identities_of_two_sizes_are_refused(faces):
    (faces.folder / "face_emb/0000.pt").write_text("damaged")
    torch.save(IDENTITY + 1, faces.folder / "face_emb/0002.pt")
    faces.check()
    torch.save(IDENTITY[:2], faces.folder / "face_emb/0003.pt")
    with pytest.raises(UsageError, match=r"several sizes \(3 in 0001.pt, 2 in 0003.pt\)"):
        faces.check()


class Payload:
    """Makes a file when it is unpickled."""

    def __init__(self, file: str) -> None:
        self.file = file

    def __reduce__(self):
        return open, (self.file, "w")


def test_a_pickle_that_would_run_something_is_dropped_and_runs_nothing(faces, tmp_path):
    bomb = tmp_path / "ran"
    for written in (torch.save, lambda what, file: file.write_bytes(pickle.dumps(what))):
        written(Payload(str(bomb)), faces.folder / "face_emb/0001.pt")
        with pytest.raises(Dropped, match="undecodable: face_emb/0001.pt"):
            faces.faces(FRAME, "0001.mp4", 0)
    assert not bomb.exists()


@pytest.mark.parametrize("wrong", [np.zeros((2, 3), np.float32), np.full(3, np.nan), {"a": 1}, None])
def test_what_is_no_identity_is_dropped(faces, wrong):
    torch.save(wrong, faces.folder / "face_emb/0001.pt")
    with pytest.raises(Dropped, match="undecodable"):
        faces.faces(FRAME, "0001.mp4", 0)


def test_a_mask_that_is_no_picture_is_dropped(faces):
    (faces.folder / "face_mask/0001.png").write_text("no picture")
    with pytest.raises(Dropped, match="undecodable: face_mask/0001.png"):
        faces.faces(FRAME, "0001.mp4", 0)


def test_the_published_layout_gives_samples_with_their_faces(tmp_path):
    write(tmp_path / "videos/0001.mp4", *take(1), caption=None)
    (tmp_path / "caption").mkdir()
    (tmp_path / "caption/0001.txt").write_text("a head\n")
    for folder in ("face_mask", "face_emb"):
        (tmp_path / folder).mkdir()
    mask = np.zeros((SIDE, SIDE), np.uint8)
    mask[10:21, 5:12] = 255
    Image.fromarray(mask).save(tmp_path / "face_mask/0001.png")
    torch.save(IDENTITY, tmp_path / "face_emb/0001.pt")
    source = find_sources(tmp_path, None, "hallo3")[0]
    rule = Judge(Settings(height=16, width=24, fit="square", min_frames=20), PublishedFaces(tmp_path))
    _, sample = next(rule.judge(source))
    assert sample is not None
    assert sample.caption == "a head"
    assert sample.facts["face_box"] == [4 + 2, 5, 4 + 6, 11]  # half the size, beside a bar of 4 pixels
    assert np.array_equal(sample.face_embedding, IDENTITY)
    assert not sample.video[:][:, :, :3].max() > 20, "the bars are black"


def test_a_folder_without_masks_is_refused(tmp_path):
    with pytest.raises(UsageError, match="holds no .png; --faces published takes what"):
        PublishedFaces(tmp_path).check()
