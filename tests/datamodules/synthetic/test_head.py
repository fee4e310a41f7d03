from dataclasses import replace

import numpy as np
import pytest
from numpy.random import default_rng

from datamodules.synthetic.head import HALF_FRAME, render, rotation
from datamodules.synthetic.identity import draw_identity
from datamodules.synthetic.scene import draw_scene
from datamodules.synthetic.speech import speak

PIXEL = 2 * HALF_FRAME / 32


@pytest.fixture
def someone():
    return draw_identity(default_rng(0))


def still(frames=1, **tracks):
    """A frontal head in the middle of the frame, lit from the camera, but for the tracks given."""
    zero = np.zeros(frames, np.float32)
    scene = draw_scene(frames, default_rng(0))
    front = np.tile(np.array([0, 0, 1], np.float32), (frames, 1))
    frontal = {"yaw": zero, "pitch": zero, "roll": zero, "blink": zero}
    frontal |= {"position": np.zeros((frames, 2), np.float32), "light_direction": front}
    frontal |= {"background_motion": zero}
    return replace(scene, **(frontal | {name: np.float32(track) for name, track in tracks.items()}))


def middle(mask) -> np.ndarray:
    """x, y of the centre of mass of a mask [H, W], in pixels."""
    y, x = np.indices(mask.shape)
    return np.array([(x * mask).sum(), (y * mask).sum()]) / mask.sum()


def test_closed_mouth_has_no_cavity(someone):
    picture = render(someone, still(2), np.array([0.0, 0.3]), np.ones(2), 32)
    assert not picture.cavity[0].any()
    assert picture.cavity[1].any()
    assert picture.lip[0].any()


@pytest.mark.parametrize("seed", range(5))
def test_cavity_follows_the_aperture(seed):
    rng = default_rng([1, seed])
    speech = speak(60, rng, 120)
    picture = render(draw_identity(rng), draw_scene(60, rng), speech.aperture, speech.width, 32)
    assert np.corrcoef(picture.cavity.sum((1, 2)), speech.aperture)[0, 1] > 0.9


def test_cavity_is_the_only_red_of_the_picture():
    """What makes the mouth measurable from pixels alone."""
    for seed in range(10):
        rng = default_rng([2, seed])
        speech = speak(40, rng, 120)
        picture = render(draw_identity(rng), draw_scene(40, rng), speech.aperture, speech.width, 32)
        red, green, blue = np.moveaxis(picture.video.astype(float), -1, 0)
        is_red = (red > 4 * green) & (red > 2.5 * blue) & (red > 20)
        assert not (is_red & (picture.lip == 0)).any()
        assert is_red[picture.cavity > 250].mean() > 0.95


@pytest.mark.parametrize("size", [32, 48])
def test_lips_are_five_to_nine_pixels_wide_at_32(size):
    for seed in range(20):
        picture = render(draw_identity(default_rng(seed)), still(), np.array([0.5]), np.ones(1), size)
        columns = (picture.lip[0] >= 128).any(0).sum() * 32 / size
        assert 5 <= columns <= 9


def test_wide_mouths_are_wider(someone):
    picture = render(someone, still(2), np.array([0.5, 0.5]), np.array([0.5, 1.25]), 64)
    narrow, wide = (picture.cavity[f].any(0).sum() for f in range(2))
    assert wide > 1.2 * narrow


def test_yaw_turns_the_mouth_to_the_side_and_pitch_up(someone):
    scene = still(4, yaw=[-0.5, 0, 0.5, 0], pitch=[0, 0, 0, 0.3])
    picture = render(someone, scene, np.full(4, 0.5), np.ones(4), 32)
    left, front, right, up = (middle(mask) for mask in picture.cavity)
    assert left[0] < front[0] - 3
    assert right[0] > front[0] + 3
    assert up[1] < front[1] - 2
    np.testing.assert_allclose(left[0] + right[0], 31, atol=0.1)


def test_mouth_xy_is_where_the_mouth_is(someone):
    scene = still(3, yaw=[-0.4, 0.2, 0], pitch=[0.1, 0, -0.1], roll=[0, 0.1, 0], position=[[0, 0], [0.1, 0], [0, -0.1]])
    picture = render(someone, scene, np.full(3, 0.8), np.ones(3), 48)
    for frame in range(3):
        np.testing.assert_allclose(picture.mouth_xy[frame], middle(picture.cavity[frame]), atol=0.6)


def test_roll_and_position_move_the_picture_by_as_much(someone):
    scene = still(2, position=[[0, 0], [4 * PIXEL, -2 * PIXEL]])
    picture = render(someone, scene, np.full(2, 0.5), np.ones(2), 32)
    np.testing.assert_array_equal(picture.cavity[1, 2:, 4:], picture.cavity[0, :-2, :-4])
    turned = render(someone, still(1, roll=[np.pi]), np.full(1, 0.5), np.ones(1), 32)
    np.testing.assert_allclose(turned.cavity[0, ::-1, ::-1], picture.cavity[0], atol=2)


def test_away_from_the_camera_there_is_no_mouth(someone):
    picture = render(someone, still(1, yaw=[np.pi]), np.ones(1), np.ones(1), 32)
    assert not picture.cavity.any()


@pytest.mark.parametrize("yaw", [-0.8, 0, 0.8])
def test_light_stays_where_it_is_when_the_head_turns(someone, yaw):
    grey = np.full(3, 0.6, np.float32)
    plain = replace(someone, skin=grey, hair=grey)
    scene = replace(still(2, yaw=[yaw, yaw], light_direction=[[-0.8, 0, 0.6], [0.8, 0, 0.6]]), ambient=0.4)
    picture = render(plain, scene, np.zeros(2), np.ones(2), 32)
    forehead = picture.video[:, 6:9, :, 1].astype(float).mean(1)
    left, right = forehead[:, 9:12].mean(1), forehead[:, 20:23].mean(1)
    assert left[0] > 1.2 * right[0]
    assert right[1] > 1.2 * left[1]


@pytest.mark.parametrize("yaw", [0, 0.6, 1.3])
def test_mouth_is_on_the_face_and_the_face_in_the_foreground(someone, yaw):
    picture = render(someone, still(1, yaw=[yaw]), np.ones(1), np.ones(1), 32)
    assert picture.cavity.any()
    assert (picture.cavity <= picture.lip).all()
    assert (picture.lip <= picture.face).all()
    assert (picture.face <= picture.foreground).all()


def test_blink_hides_the_eyes(someone):
    picture = render(someone, still(2, blink=[0, 1]), np.zeros(2), np.ones(2), 32)
    difference = np.abs(picture.video[0].astype(int) - picture.video[1]).sum(-1)
    assert difference.sum() > 500
    assert not difference[18:].any()


def test_only_moving_backgrounds_move(someone):
    for speed, moves in ((0, False), (4, True)):
        scene = still(5, background_motion=np.full(5, speed))
        scene = replace(scene, background=np.array([[0, 0, 0], [0.5, 0.5, 0.5]], np.float32))
        picture = render(someone, scene, np.zeros(5), np.ones(5), 32)
        assert bool(np.ptp(picture.video[:, 0, 0], axis=0).any()) == moves
        assert not picture.foreground[:, 0, 0].any()


def test_frames_do_not_depend_on_each_other():
    rng = default_rng(3)
    speech, scene = speak(6, rng, 120), replace(draw_scene(6, rng), background_motion=np.zeros(6, np.float32))
    whole = render(draw_identity(rng), scene, speech.aperture, speech.width, 24)
    alone = {name: track[3:5] for name, track in vars(scene).items() if np.ndim(track) and len(track) == 6}
    part = render(draw_identity_again(), replace(scene, **alone), speech.aperture[3:5], speech.width[3:5], 24)
    np.testing.assert_array_equal(part.video, whole.video[3:5])


def draw_identity_again():
    """The identity that follows the speech and the scene of the test above in its generator."""
    rng = default_rng(3)
    speak(6, rng, 120)
    draw_scene(6, rng)
    return draw_identity(rng)


def test_rotations_are_rotations():
    turn = rotation(draw_scene(10, default_rng(0), yaw_max=1.5))
    np.testing.assert_allclose(turn @ turn.transpose(0, 2, 1), np.tile(np.eye(3), (10, 1, 1)), atol=1e-6)
