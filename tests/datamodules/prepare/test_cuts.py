import numpy as np
import pytest

from datamodules.prepare.cuts import THRESHOLD, cuts, signature

HEIGHT, WIDTH = 30, 46


def scene(seed: int, frames: int, light: float = 0.0) -> np.ndarray:
    """[n, H, W, 3]: smooth colours of their own, with a bright patch that wanders, noise, and light that drifts."""
    rng = np.random.default_rng(seed)
    corners = rng.uniform(20, 235, (2, 2, 3))
    down, across = np.linspace(0, 1, HEIGHT)[:, None, None], np.linspace(0, 1, WIDTH)[None, :, None]
    still = (1 - down) * ((1 - across) * corners[0, 0] + across * corners[0, 1]) + down * (
        (1 - across) * corners[1, 0] + across * corners[1, 1]
    )
    shown = np.repeat(still[None], frames, 0) + rng.normal(0, 4, (frames, HEIGHT, WIDTH, 3))
    for i in range(frames):
        shown[i, 8:18, i % 20 : i % 20 + 12] = 200
        shown[i] += light * i
    return np.clip(shown, 0, 255).astype(np.uint8)


def found(frames: np.ndarray) -> list[int]:
    return cuts(np.stack([signature(frame) for frame in frames]))


def test_cuts_are_found_where_they_are():
    video = np.concatenate([scene(1, 13), scene(2, 20), scene(3, 4), scene(4, 9)])
    assert found(video) == [13, 33, 37]


def test_a_face_that_moves_and_light_that_drifts_are_no_cut():
    assert found(scene(5, 40, light=1.5)) == []


def test_a_flash_is_no_cut():
    video = scene(6, 30)
    video[14] = 255
    assert found(video) == []


def test_a_fast_pan_is_no_cut_though_each_frame_jumps_as_far_as_a_cut():
    wide = np.concatenate([scene(seed, 1)[0] for seed in range(10, 17)], axis=1)
    video = np.stack([wide[:, x : x + WIDTH] for x in range(0, wide.shape[1] - WIDTH, 14)])
    told = np.stack([signature(frame) for frame in video]).astype(float) / 255
    assert (np.abs(np.diff(told, axis=0)).mean(1) > THRESHOLD).sum() > 5
    assert found(video) == []


@pytest.mark.parametrize("frames", [1, 2, 3])
def test_the_shortest_videos_have_none(frames):
    assert found(scene(9, frames)) == []


def test_one_brightness_level_more_hops_no_bin():
    """Colours on the border of two histogram bins: the whole picture changes bins, and nothing has happened."""
    video = np.full((12, HEIGHT, WIDTH, 3), 127, np.uint8)
    video[6:] = 128
    assert found(video) == []
