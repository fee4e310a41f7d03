"""Videos as I3D is shown them, where the answer is known."""

import numpy as np
import pytest
import torch
from einops import rearrange
from PIL import Image

from hallo3_lightning.backbones.i3d import I3D, PREPROCESSINGS, SIZE


def noise(frames: int, height: int, width: int) -> torch.Tensor:
    generator = torch.Generator().manual_seed(0)
    return torch.randint(0, 256, (frames, 3, height, width), generator=generator, dtype=torch.uint8)


@pytest.mark.parametrize("name", PREPROCESSINGS)
def test_black_and_white(name):
    video = torch.zeros(2, 3, SIZE, SIZE, dtype=torch.uint8)
    video[1] = 255
    seen = PREPROCESSINGS[name](video)
    assert seen.shape == (3, 2, SIZE, SIZE)
    assert seen[:, 0].unique() == pytest.approx(0 if name == "latentsync" else -1)
    assert seen[:, 1].unique() == pytest.approx(1, abs=1e-6)


def test_the_middle_is_cut_out_or_all_of_it_is_stretched():
    """A third of the width is white at either side: cut off from a frame twice as wide as high, seen when stretched."""
    video = torch.zeros(1, 3, 30, 60, dtype=torch.uint8)
    video[..., :14] = video[..., -14:] = 255
    assert PREPROCESSINGS["videogpt"](video).unique().tolist() == [-1]
    assert PREPROCESSINGS["videogpt"](rearrange(video, "f c h w -> f c w h")).unique().tolist() == [-1]
    for name in ("cdfvd", "disco"):
        seen = PREPROCESSINGS[name](video)[0, 0, 100]
        assert (seen > 0).sum() == pytest.approx(SIZE * 28 / 60, abs=2)
    assert PREPROCESSINGS["videogpt"](torch.zeros(1, 3, 61, 43, dtype=torch.uint8)).shape == (3, 1, SIZE, SIZE)


@pytest.mark.parametrize(("height", "width"), [(37, 53), (480, 311)])
def test_disco_resizes_as_pillow_does_without_rounding(height, width):
    video = noise(1, height, width)
    seen = (PREPROCESSINGS["disco"](video) + 1) * 255 / 2
    for colour in range(3):
        picture = Image.fromarray(video[0, colour].numpy().astype(np.float32), mode="F")
        theirs = np.asarray(picture.resize((SIZE, SIZE), Image.Resampling.BICUBIC))
        np.testing.assert_allclose(seen[colour, 0].numpy(), theirs, atol=5e-3)


def test_disco_does_not_cut_off_beyond_black_and_white():
    """Bicubic overshoots at an edge."""
    video = torch.zeros(1, 3, 20, 20, dtype=torch.uint8)
    video[..., 10:] = 255
    seen = PREPROCESSINGS["disco"](video)
    assert seen.min() < -1.05
    assert seen.max() > 1.05


def test_too_short_a_video_is_refused():
    with pytest.raises(ValueError, match="needs 10 frames, the video has 9"):
        I3D()(torch.zeros(1, 3, 9, 64, 64))


def test_a_square_of_some_sizes_is_a_row_too_high():
    """224 / 100 * 100 is a little more than 224, which VideoGPT rounds up, and cuts the last row off."""
    levels = 2 * torch.arange(100, dtype=torch.uint8)
    seen = PREPROCESSINGS["videogpt"](levels[:, None].expand(1, 3, 100, 100))
    places = ((torch.arange(SIZE) + 0.5) * 100 / (SIZE + 1) - 0.5).clamp(min=0)
    assert (seen[0, 0, :, 7] + 1) * 255 / 2 == pytest.approx(2 * places, abs=1e-3)
