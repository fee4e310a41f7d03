"""Pictures as Inception is shown them, where the answer is known."""

import pytest
import torch

from hallo3_lightning.backbones.inception import PREPROCESSINGS, SIZE


def slope(height: int, width: int) -> torch.Tensor:
    """Levels [1, 3, H, W]: red and green grow along x, blue along y."""
    y, x = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
    return torch.stack([2 * x, 2 * x, 3 * y])[None].to(torch.uint8)


@pytest.mark.parametrize("name", PREPROCESSINGS)
def test_prepared_pictures_are_of_the_size_and_range(name):
    black, white = (PREPROCESSINGS[name](torch.full((2, 3, 40, 30), level, dtype=torch.uint8)) for level in (0, 255))
    assert black.shape == (2, 3, SIZE, SIZE)
    assert black.dtype == torch.float32
    assert black.unique() == pytest.approx(-1)
    assert white.unique() == pytest.approx(1 if name == "pytorch_fid" else 127 / 128)


def test_pixels_are_points_of_a_picture_that_starts_in_its_corner():
    seen = PREPROCESSINGS["torch_fidelity"](slope(70, 50)) * 128 + 128
    places = torch.arange(SIZE) * 50 / SIZE
    assert seen[0, 0, 7] == pytest.approx(2 * places.clamp(max=49), abs=1e-4)
    places = torch.arange(SIZE) * 70 / SIZE
    assert seen[0, 2, :, 9] == pytest.approx(3 * places.clamp(max=69), abs=1e-4)


def test_pixels_are_areas():
    seen = (PREPROCESSINGS["pytorch_fid"](slope(70, 50)) + 1) * 255 / 2
    places = ((torch.arange(SIZE) + 0.5) * 50 / SIZE - 0.5).clamp(0, 49)
    assert seen[0, 0, 7] == pytest.approx(2 * places, abs=1e-3)


ROUNDING = 255 * torch.finfo(torch.float32).eps
"""Of means of pixels, which processors sum in their own order."""


def test_stripes_are_smoothed_by_one_alone():
    """Columns of black and white in turns, twelve to a column that is seen: grey where smoothed, else black or white."""
    stripes = torch.zeros(1, 3, SIZE, 12 * SIZE, dtype=torch.uint8)
    stripes[..., ::2] = 255
    spread = {name: float(prepare(stripes)[..., 2:-2].std()) for name, prepare in PREPROCESSINGS.items()}
    assert spread["torchmetrics"] < 0.02
    assert spread["torch_fidelity"] == pytest.approx(0, abs=ROUNDING)
    assert PREPROCESSINGS["torch_fidelity"](stripes).min() > 0.99
    assert spread["pytorch_fid"] == pytest.approx(0, abs=ROUNDING)
