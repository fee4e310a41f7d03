"""Who says where faces are: a user's faces.jsonl, or detector files."""

import json
import pickle
from pathlib import Path

import numpy as np
import pytest

from datamodules.prepare.face import Face
from datamodules.prepare.faces import finder
from hallo3_lightning.backbones.weight_files import ARCFACE, SCRFD
from hallo3_lightning.errors import UsageError
from tests.backbones.graphs import LANDMARKS as SEEN
from tests.backbones.graphs import REACH, write_detector, write_embedder

pytestmark = pytest.mark.filterwarnings("ignore:.*is not the published")

NOTHING = np.zeros((4, 6, 3), np.uint8)
LANDMARKS = [[3.0, 4.0], [7.0, 4.5], [5.0, 6.0], [3.5, 8.0], [6.5, 8.5]]


def told(folder: Path, *lines: object) -> Path:
    path = folder / "faces.jsonl"
    path.write_text("".join(f"{line if isinstance(line, str) else json.dumps(line)}\n" for line in lines))
    return path


def test_a_line_holds_until_the_next_of_its_video(tmp_path):
    faces = finder(
        faces_file=told(
            tmp_path,
            {"video": "a/one.mp4", "frame": 9, "faces": []},
            {"video": "two.mp4", "faces": [{"box": [1, 2, 30, 40]}]},
            "",
            {"video": "a/one.mp4", "frame": 3, "faces": [{"box": [5, 6, 7, 8.5], "score": 0.5}]},
        )
    )
    boxes = [[face.box for face in faces.faces(NOTHING, "a/one.mp4", number)] for number in (0, 3, 8, 9, 1000)]
    assert boxes == [[(5, 6, 7, 8.5)]] * 3 + [[]] * 2
    assert [face.box for face in faces.faces(NOTHING, "two.mp4", 77)] == [(1, 2, 30, 40)]
    assert faces.faces(NOTHING, "one.mp4", 0) == []


def test_the_largest_face_comes_first_with_all_that_is_known(tmp_path):
    large = {"box": [0, 0, 9, 9], "score": 0.25, "landmarks": LANDMARKS, "embedding": [1, -2, 0.5]}
    faces = finder(faces_file=told(tmp_path, {"video": "v.mp4", "faces": [{"box": [0, 0, 2, 2]}, large]}))
    first, second = pickle.loads(pickle.dumps(faces)).faces(NOTHING, "v.mp4", 0)
    assert (first.score, first.area, second.score, second.landmarks) == (0.25, 81, 1, None)
    assert first.landmarks.tolist() == LANDMARKS
    assert faces.embedding(NOTHING, first).tolist() == [1, -2, 0.5]
    assert first.embedding.dtype == np.float32
    assert faces.embedding(NOTHING, second) is None


def test_what_is_told_of_a_video_is_that_of_its_lines_alone(tmp_path):
    line, later, other = (
        {"video": "v.mp4", "faces": []},
        {"video": "v.mp4", "frame": 4, "faces": []},
        {"video": "w.mp4"},
    )
    first = finder(faces_file=told(tmp_path, line, later))
    before = first.told_of("v.mp4")
    assert first.told_of("w.mp4") == ""
    more = finder(faces_file=told(tmp_path, {**other, "faces": [{"box": [1, 2, 3, 4]}]}, later, line))
    assert more.told_of("v.mp4") == before
    assert more.told_of("w.mp4") not in (before, "")
    assert more.fingerprint == first.fingerprint
    assert finder(faces_file=told(tmp_path, line, {**later, "frame": 5})).told_of("v.mp4") != before
    assert finder(faces_file=told(tmp_path, line)).told_of("v.mp4") != before


def test_a_file_with_embeddings_is_another_than_one_without(tmp_path):
    plain = {"video": "v.mp4", "faces": [{"box": [1, 2, 3, 4]}]}
    known = {"video": "w.mp4", "faces": [{"box": [1, 2, 3, 4], "embedding": [1]}]}
    without = finder(faces_file=told(tmp_path, plain))
    assert (without.knows_identities, without.fingerprint) == (False, "faces.jsonl without embeddings")
    both = finder(faces_file=told(tmp_path, plain, known))
    assert (both.knows_identities, both.fingerprint) == (True, "faces.jsonl with embeddings")


def test_a_file_that_tells_of_none_of_the_videos_says_so(tmp_path):
    with pytest.raises(UsageError, match=r"it is empty; .* such as a/1.mp4"):
        finder(faces_file=told(tmp_path)).check_videos(["a/1.mp4"])
    faces = finder(faces_file=told(tmp_path, {"video": "1.mp4", "faces": []}))
    with pytest.raises(UsageError, match=r"names others, such as 1.mp4; .* such as a/1.mp4"):
        faces.check_videos(["a/1.mp4"])
    faces.check_videos(["a/1.mp4", "1.mp4"])


@pytest.mark.parametrize(
    ("line", "complaint"),
    [
        ("{", "line 2: not JSON"),
        ("[1]", "line 2: expected"),
        ({"faces": []}, "line 2: expected"),
        ({"video": "v", "frame": -1, "faces": []}, "line 2: expected"),
        ({"video": "v", "frame": True, "faces": []}, "line 2: expected"),
        ({"video": "v", "faces": [[1, 2, 3, 4]]}, "line 2: a face is an object"),
        ({"video": "v", "faces": [{"box": [1, 2, 3]}]}, "box must be 4 finite"),
        ({"video": "v", "faces": [{"box": [1, 2, 3, "x"]}]}, "box must be 4 finite"),
        ({"video": "v", "faces": [{"box": [3, 2, 1, 4]}]}, "is empty"),
        ({"video": "v", "faces": [{"box": [1, 2, 3, float("nan")]}]}, "box must be 4 finite"),
        ({"video": "v", "faces": [{"box": [1, 2, 3, 4], "landmarks": [[1, 2]]}]}, "landmarks must be 5 x 2"),
        ({"video": "v", "faces": [{"box": [1, 2, 3, 4], "embedding": []}]}, "embedding must be n finite"),
        (
            {
                "video": "v",
                "faces": [{"box": [1, 2, 3, 4], "embedding": [1, 2]}, {"box": [1, 2, 3, 4], "embedding": [1]}],
            },
            "line 2: an embedding of 1 numbers, in line 2 one of 2",
        ),
        ({"video": "first", "faces": []}, "line 2: a second line for frame 0 of first"),
    ],
)
def test_a_wrong_line_is_named(tmp_path, line, complaint):
    with pytest.raises(UsageError, match=complaint):
        finder(faces_file=told(tmp_path, {"video": "first", "faces": []}, line))


@pytest.mark.parametrize("place", ["", "face_analysis/models", "models/antelopev2"])
def test_detector_files_are_found_in_the_published_folders(tmp_path, place):
    write_detector(tmp_path / place / SCRFD.name)
    with pytest.raises(UsageError, match=f"a face embedding needs {ARCFACE.name}"):
        finder(tmp_path)
    assert finder(tmp_path, with_embeddings=False).embedding(NOTHING, None) is None
    write_embedder(tmp_path / place / ARCFACE.name)
    finder(tmp_path)


def test_faces_are_found_and_known(tmp_path):
    """Of a picture of 320 x 192, which the detector sees twice as large: its cells of 16 are 8 pixels here."""
    write_detector(tmp_path / SCRFD.name)
    write_embedder(tmp_path / ARCFACE.name)
    faces = pickle.loads(pickle.dumps(finder(tmp_path)))
    frame = np.zeros((192, 320, 3), np.uint8)
    frame[5 * 8 : 6 * 8, 7 * 8 : 8 * 8] = 255
    (face,) = faces.faces(frame, "any.mp4", 3)
    left, up, right, down = REACH
    np.testing.assert_allclose(face.box, [8 * n for n in (7 - left, 5 - up, 7 + right, 5 + down)], rtol=1e-5)
    np.testing.assert_allclose(face.landmarks, (np.array(SEEN) + (7, 5)) * 8, rtol=1e-5)
    assert 0.99 < face.score <= 1
    embedding = faces.embedding(frame, face)
    assert embedding.shape == (12,)
    assert embedding.max() > -1  # some of the bright cell lies in the aligned face
    assert faces.embedding(frame, Face(face.box)) is None


def test_the_fingerprint_is_of_the_files_and_settings(tmp_path):
    write_detector(tmp_path / SCRFD.name)
    write_embedder(tmp_path / ARCFACE.name)
    first = finder(tmp_path).fingerprint
    assert first == finder(tmp_path, threads=2).fingerprint
    assert first != finder(tmp_path, with_embeddings=False).fingerprint
    write_detector(tmp_path / SCRFD.name, level=2)
    assert first != finder(tmp_path).fingerprint


def test_files_that_are_something_else_are_refused_at_once(tmp_path):
    write_embedder(tmp_path / SCRFD.name)
    with pytest.raises(UsageError, match="no SCRFD detector"):
        finder(tmp_path, with_embeddings=False)
    with pytest.raises(UsageError, match="is no folder"):
        finder(tmp_path / "absent")


def test_one_source_of_faces(tmp_path):
    assert finder() is None
    with pytest.raises(UsageError, match="is no file"):
        finder(faces_file=tmp_path / "absent.jsonl")
    with pytest.raises(UsageError, match="one of the two"):
        finder(tmp_path, tmp_path)
