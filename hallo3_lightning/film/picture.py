"""A picture file as people have them, as upright RGB of 8 bits."""

import os
import stat
import warnings
from typing import BinaryIO

import numpy as np
from einops import rearrange
from PIL import Image, ImageOps, UnidentifiedImageError

from hallo3_lightning.errors import UsageError

MAX_PIXELS = 2**27
"""134 million, 11,000 squared: a few bytes of a file can claim any size."""

FORMATS = ("PNG", "JPEG", "WEBP", "AVIF", "GIF", "BMP", "TIFF", "JPEG2000", "PPM", "TGA", "ICO", "QOI")
"""Pillow's names of those that are read; whatever its name, a file of another form (EPS) could start another program."""

BEHIND = 128
"""Grey that stands behind what is transparent."""


def read_picture(image: str) -> np.ndarray:
    """A file -> uint8 [H, W, 3], turned as its EXIF tag says; of an animation the first frame, transparency over mid-grey.

    Depths of 16 and 32 bits and floating point become 8 bits. Raises UsageError for a file that is no picture of FORMATS, is
    damaged, holds numbers that are not finite, or claims more than MAX_PIXELS.
    """
    with _opened(image) as file:
        if _is_device(file):
            raise UsageError(
                f"--image {image} is a device and no picture; name a png, jpeg, webp or another picture file"
            )
        return _decoded(image, file)


def _opened(image: str) -> BinaryIO:
    try:
        return open(image, "rb", opener=_at_once)
    except OSError as error:  # not there, a folder, a ring of links, not ours to read
        raise UsageError(
            f"no picture at --image '{image}' ({error.strerror}); name a png, jpeg, webp or another picture file"
        ) from error


def _is_device(file: BinaryIO) -> bool:
    """What may never end."""
    mode = os.fstat(file.fileno()).st_mode
    return stat.S_ISCHR(mode) or stat.S_ISBLK(mode)


def _at_once(path: str, flags: int) -> int:
    """A pipe is read to its end (`--image <(convert ...)`); one that nobody has open to write has ended, and is not
    waited for."""
    descriptor = os.open(path, flags | os.O_NONBLOCK)
    os.set_blocking(descriptor, True)
    return descriptor


def _decoded(path: str, file: BinaryIO) -> np.ndarray:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # what Pillow warns of is refused here, or does no harm
            with Image.open(file, formats=FORMATS) as image:
                _refuse_bomb(path, image.width * image.height)
                return _rgb(ImageOps.exif_transpose(image))
    except UnidentifiedImageError as error:
        raise UsageError(
            f"--image {path} is empty, or no picture that Pillow can read safely; give a png, jpeg, webp, avif, gif, bmp or tiff"
        ) from error
    except Image.DecompressionBombError:
        _refuse_bomb(path, None)
        raise
    except (OSError, SyntaxError, ValueError, EOFError) as error:
        if isinstance(error, UsageError):
            raise
        raise UsageError(f"--image {path} is damaged ({error}); save it again") from error


def _refuse_bomb(path: str, pixels: int | None) -> None:
    if pixels is None or pixels > MAX_PIXELS:
        says = "far more" if pixels is None else f"{pixels:,}"
        raise UsageError(f"--image {path} claims {says} pixels, at most {MAX_PIXELS:,} are read; make it smaller")


def _rgb(image: Image.Image) -> np.ndarray:
    if image.mode.startswith("I") or image.mode == "F":
        return _from_depth(np.asarray(image))
    if image.has_transparency_data:
        image = image.convert("RGBA")
        grey = Image.new("RGBA", image.size, (BEHIND, BEHIND, BEHIND, 255))
        image = Image.alpha_composite(grey, image)
    return np.asarray(image.convert("RGB"))


def _from_depth(values: np.ndarray) -> np.ndarray:
    """Grey [H, W] of 16 or 32 bits, or floating point in 0..1 or 0..255 -> uint8 [H, W, 3]."""
    numbers = values.astype(np.float64)
    if not np.isfinite(numbers).all():
        raise ValueError("it holds numbers that are not finite")
    brightest = float(numbers.max(initial=0))
    if np.issubdtype(values.dtype, np.floating):
        scale = 255.0 if brightest <= 1 else 1.0
    else:
        scale = 255 / (2**16 - 1) if brightest < 2**16 else 255 / (2**31 - 1)
    grey = np.rint(np.clip(numbers * scale, 0, 255)).astype(np.uint8)
    return np.repeat(rearrange(grey, "h w -> h w 1"), 3, axis=2)
