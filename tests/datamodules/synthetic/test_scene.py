import numpy as np
import pytest
from numpy.random import default_rng

from datamodules.synthetic.scene import draw_scene


@pytest.mark.parametrize("yaw_max", [0.0, 0.5, 1.5])
def test_yaw_stays_within_its_limit_and_uses_it(yaw_max):
    yaws = np.stack([draw_scene(60, default_rng(n), yaw_max).yaw for n in range(60)])
    assert np.abs(yaws).max() <= yaw_max + 1e-6
    assert np.abs(yaws).max() >= 0.8 * yaw_max


def test_pose_moves_smoothly():
    for n in range(20):
        scene = draw_scene(60, default_rng(n))
        for track in (scene.yaw, scene.pitch, scene.roll, *scene.position.T):
            assert np.abs(np.diff(track)).max() < 0.04


def test_head_without_motion_stands_still():
    scene = draw_scene(30, default_rng(4), motion=0)
    assert max(np.ptp(track) for track in (scene.yaw, scene.pitch, scene.roll, *scene.position.T)) < 1e-6


def test_eyes_blink_now_and_then():
    closed = np.stack([draw_scene(100, default_rng(n)).blink for n in range(30)])
    assert 0.02 < (closed > 0.5).mean() < 0.10
    assert closed.max() == 1


def test_light_is_a_direction_and_some_backgrounds_move():
    scenes = [draw_scene(3, default_rng(n)) for n in range(200)]
    lengths = [np.linalg.norm(scene.light_direction, axis=1) for scene in scenes]
    np.testing.assert_allclose(lengths, 1, rtol=1e-6)
    assert 0.3 < np.mean([scene.background_motion.any() for scene in scenes]) < 0.5
