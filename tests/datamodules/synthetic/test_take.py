from dataclasses import replace

import numpy as np
import pytest
from numpy.random import default_rng

from datamodules.synthetic.identity import EMBEDDING_WIDTH, draw_identity, face_embedding
from datamodules.synthetic.scene import draw_scene
from datamodules.synthetic.take import caption, face_box, make_take
from hallo3_lightning.geometry import audio_samples


def test_take_is_a_function_of_seed_and_number():
    one, same = (make_take(3, 5, frames=7, size=16) for _ in range(2))
    np.testing.assert_array_equal(one.video, same.video)
    np.testing.assert_array_equal(one.waveform, same.waveform)
    for other in (make_take(4, 5, frames=7, size=16), make_take(3, 6, frames=7, size=16)):
        assert not np.array_equal(one.video, other.video)
        assert not np.array_equal(one.waveform, other.waveform)


def test_size_changes_the_resolution_and_nothing_else():
    small, large = make_take(3, 5, frames=7, size=16), make_take(3, 5, frames=7, size=64)
    pooled = large.video.reshape(7, 16, 4, 16, 4, 3).mean((2, 4))
    assert np.abs(pooled - small.video).mean() < 8
    np.testing.assert_array_equal(small.truth["aperture"], large.truth["aperture"])


def test_everything_is_as_long_as_the_video():
    take = make_take(0, 1, frames=7, size=20)
    assert take.video.shape == (7, 20, 20, 3)
    assert len(take.waveform) == audio_samples(7)
    assert {len(track) for track in take.truth.values()} == {7}
    assert {name for name, track in take.truth.items() if track.dtype == np.uint8} == {"foreground", "lip", "cavity"}


def test_face_box_holds_the_head_and_no_more():
    face = np.zeros((3, 10, 12), np.uint8)
    face[0, 2:5, 3:6] = 255
    face[2, 4:8, 5:9] = 200
    face[1] = 100
    assert face_box(face) == [3, 2, 9, 8]


@pytest.mark.parametrize(
    ("tracks", "words"),
    [
        ({"yaw": np.full(4, 0.4)}, "talks to the right,"),
        ({"yaw": np.full(4, -0.4)}, "talks to the left,"),
        ({"yaw": np.array([-0.3, 0.3, -0.3, 0.3])}, "talks to the camera,"),
        ({"light_direction": np.tile([-0.8, 0, 0.6], (4, 1))}, "lit from the left,"),
        ({"light_direction": np.tile([0, 0, 1.0], (4, 1))}, "lit from the front,"),
        ({"background_motion": np.full(4, 3.0)}, "in front of a moving background."),
        ({"background_motion": np.zeros(4)}, "in front of a still background."),
    ],
)
def test_caption_says_what_is_true(tracks, words):
    identity = draw_identity(default_rng(0))
    said = caption(identity, replace(draw_scene(4, default_rng(0)), **tracks))
    assert words in said
    assert f"{identity.words['hair']} hair" in said


def test_captions_vary():
    assert len({make_take(0, n, frames=2, size=16).caption for n in range(60)}) > 50


def test_embeddings_are_standardised_and_tell_people_apart():
    vectors = np.stack([face_embedding(draw_identity(default_rng(n))) for n in range(2000)])
    assert vectors.shape == (2000, EMBEDDING_WIDTH)
    np.testing.assert_allclose(vectors.mean(0), 0, atol=0.12)
    np.testing.assert_allclose(vectors.std(0), 1, atol=0.12)
    some = vectors[:200]
    distances = np.linalg.norm(some[:, None] - some[None], axis=-1) + 10 * np.eye(200)
    assert distances.min() > 1
