"""Alignment by five landmarks, and the embedder with a network that tells the colours of the crop's quarters."""

import numpy as np
import pytest

from hallo3_lightning.backbones.arcface import CROP, TEMPLATE, FaceEmbedder, aligned, similarity
from hallo3_lightning.backbones.onnx_file import OnnxFile
from hallo3_lightning.errors import UsageError
from tests.backbones.graphs import write_detector, write_embedder


def turned(points: np.ndarray, degrees: float, scale: float, shift: tuple[float, float]) -> np.ndarray:
    cos, sin = scale * np.cos(np.deg2rad(degrees)), scale * np.sin(np.deg2rad(degrees))
    return points @ np.array([[cos, sin], [-sin, cos]]) + shift


@pytest.mark.parametrize(("degrees", "scale", "shift"), [(0, 1, (0, 0)), (30, 2.5, (-7, 90)), (-170, 0.3, (50, 4))])
def test_a_similarity_is_undone(degrees, scale, shift):
    found = similarity(turned(TEMPLATE, degrees, scale, shift), TEMPLATE)
    inverse = turned(np.eye(2), -degrees, 1 / scale, (0, 0)).T
    np.testing.assert_allclose(found[:, :2], inverse, atol=1e-12)
    np.testing.assert_allclose(found[:, 2], -inverse @ shift, atol=1e-9)


def test_the_error_is_the_least():
    """Against every small change of turn, scale and shift, for points that no similarity brings together."""
    generator = np.random.default_rng(0)
    points = generator.normal(size=(5, 2)) * 20 + 40

    def squared(matrix: np.ndarray) -> float:
        return float(((points @ matrix[:, :2].T + matrix[:, 2] - TEMPLATE) ** 2).sum())

    best = similarity(points, TEMPLATE)
    for direction in ([1, 0, 0], [0, 1, 0], [0, 0, 1], [1, 2, 3]):
        for size in (1e-4, -1e-4):
            a, b, c = np.array(direction) * size
            changed = best + np.array([[a, -b, c], [b, a, -c]])
            assert squared(changed) > squared(best)


def test_a_mirrored_face_is_not_mirrored_back():
    mirrored = TEMPLATE * (-1, 1) + (112, 0)
    assert np.linalg.det(similarity(mirrored, TEMPLATE)[:, :2]) > 0


def test_landmarks_on_one_point_are_refused():
    with pytest.raises(ValueError, match="one point"):
        similarity(np.ones((5, 2)), TEMPLATE)


def test_a_face_is_brought_upright_and_to_size():
    """The picture is a turned, doubled and shifted gradient, known at every point."""

    def shade(x: np.ndarray, y: np.ndarray) -> np.ndarray:
        return np.stack([x, y, 100 + 0.5 * x - 0.25 * y], axis=-1)

    y, x = np.mgrid[:345, :340]
    points = np.stack([x, y], axis=-1) - (160, 20)
    original = turned(points, -40, 0.5, (0, 0))
    picture = np.clip(np.round(shade(original[..., 0], original[..., 1])), 0, 255).astype(np.uint8)
    found = aligned(picture, turned(TEMPLATE, 40, 2, (160, 20)))
    y, x = np.mgrid[:CROP, :CROP]
    assert abs(found - shade(x, y)).max() <= 1


def test_outside_of_the_picture_is_black():
    found = aligned(np.full((40, 60, 3), 200, np.uint8), TEMPLATE - (30, 20))
    assert found[:20].max() == found[:, :30].max() == found[60:].max() == found[:, 90:].max() == 0
    assert found[20:60, 30:90].min() == 200


@pytest.fixture
def embedder(tmp_path):
    return FaceEmbedder(OnnxFile(write_embedder(tmp_path / "e.onnx")))


def test_the_embedding_is_of_the_aligned_face_in_red_green_blue(embedder):
    colours = np.array([[[10, 60, 200], [250, 0, 90]], [[30, 120, 255], [77, 140, 5]]], np.uint8)
    picture = np.repeat(np.repeat(colours, 3 * CROP // 2, axis=0), 3 * CROP // 2, axis=1)
    found = embedder.embedding(picture, (TEMPLATE + 0.5) * 3 - 0.5)
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, np.moveaxis(colours / 127.5 - 1, 2, 0).ravel(), atol=1e-4)


def test_another_file_is_named(tmp_path, embedder):
    embedder.check()
    with pytest.raises(UsageError, match=r"is no ArcFace network: it takes .*expected \(3, 112, 112\) and one"):
        FaceEmbedder(OnnxFile(write_detector(tmp_path / "d.onnx"))).check()
