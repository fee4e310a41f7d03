"""Pictures as people have them, and where they are placed."""

import io
import os
import struct
import threading
import time
import zlib
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import EpsImagePlugin, Image

from datamodules.prepare.face import Face
from hallo3_lightning.errors import UsageError
from hallo3_lightning.film.picture import BEHIND, read_picture
from hallo3_lightning.film.portrait import Seen, looked_at, placed

COLOUR = 200, 100, 50


def plain(mode: str = "RGB", colour=COLOUR, size=(7, 5)) -> Image.Image:
    return Image.new(mode, size, colour)


KINDS = {
    "rgb.png": (plain(), COLOUR),
    "lossless.webp": (plain(), COLOUR),
    "cmyk.tif": (plain("CMYK", (0, 128, 255, 0)), (255, 127, 0)),
    "grey.png": (plain("L", 90), (90, 90, 90)),
    "bits.png": (plain("1", 1), (255, 255, 255)),
    "palette.png": (plain().convert("P", palette=Image.Palette.ADAPTIVE), COLOUR),
    "clear.png": (plain("RGBA", (255, 0, 0, 0)), (BEHIND,) * 3),
    "half.png": (plain("LA", (0, 51)), (round(BEHIND * 0.8),) * 3),
    "deep.png": (Image.fromarray(np.full((5, 7), 51 * 257, np.uint16)), (51, 51, 51)),
    "deep.tif": (Image.fromarray(np.full((5, 7), 51 * 257, np.int32)), (51, 51, 51)),
    "float.tif": (Image.fromarray(np.full((5, 7), 0.2, np.float32)), (51, 51, 51)),
}


@pytest.mark.parametrize("name", KINDS)
def test_every_kind_of_picture_becomes_its_colours(tmp_path, name):
    image, colour = KINDS[name]
    image.save(tmp_path / name, **({"lossless": True} if name.endswith("webp") else {}))
    picture = read_picture(str(tmp_path / name))
    assert picture.shape == (5, 7, 3)
    assert picture.dtype == np.uint8
    assert (picture == np.array(colour)).all()


def test_a_jpeg_stands_upright(tmp_path):
    image = plain(size=(24, 16))
    image.paste((0, 0, 0), (0, 0, 24, 8))  # dark above
    turned = Image.Exif()
    turned[0x0112] = 6  # shown after a quarter turn to the right: what was above is on the right
    image.save(tmp_path / "turned.jpg", exif=turned, quality=95)
    picture = read_picture(str(tmp_path / "turned.jpg"))
    assert picture.shape == (24, 16, 3)
    assert picture[:, 12:].mean() < 20
    assert picture[:, :4].mean() > 100


def test_of_an_animation_the_first_frame_counts(tmp_path):
    plain().save(tmp_path / "moving.gif", save_all=True, append_images=[plain(colour=(0, 0, 0))])
    assert (read_picture(str(tmp_path / "moving.gif")) == np.array(COLOUR)).all()


def claimed(width: int, height: int) -> bytes:
    """A png that says it is so large, and holds nothing."""
    chunks = b"\x89PNG\r\n\x1a\n"
    for name, data in ((b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)), (b"IDAT", b"")):
        chunks += struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))
    return chunks


@pytest.mark.parametrize("side", [12_000, 60_000])
def test_a_picture_that_claims_to_be_huge_is_not_decoded(tmp_path, side):
    (tmp_path / "bomb.png").write_bytes(claimed(side, side))
    with pytest.raises(UsageError, match="bomb.png claims"):
        read_picture(str(tmp_path / "bomb.png"))


def torn(path: Path, share: float) -> None:
    """Leave only the beginning of a picture."""
    plain(size=(64, 64)).save(path)
    path.write_bytes(path.read_bytes()[: round(share * path.stat().st_size)])


NO_PICTURES = {
    "notes.png": (lambda path: path.write_text("a text"), "no picture that Pillow can read"),
    "torn.png": (lambda path: torn(path, 0.6), "damaged"),
    "torn.tif": (lambda path: torn(path, 0.01), "no picture that Pillow can read"),
    "absent.png": (lambda path: None, "no picture at --image .* .No such file"),
    "folder.png": (lambda path: path.mkdir(), "no picture at --image .* .Is a directory"),
    "ring.png": (lambda path: path.symlink_to(path), "no picture at --image .* .Too many levels"),
    "nan.tif": (lambda path: depth(path, np.nan), "not finite"),
    "dark.tif": (lambda path: depth(path, -np.inf), "not finite"),
}


def depth(path: Path, odd: float) -> None:
    """A picture of floating point with one odd pixel."""
    Image.fromarray(np.array([[0.2, odd], [0.1, -3e38]], np.float32)).save(path)


@pytest.mark.parametrize("name", NO_PICTURES)
def test_what_is_no_picture_is_one_sentence_and_no_warning(tmp_path, name, recwarn):
    write, sentence = NO_PICTURES[name]
    write(tmp_path / name)
    with pytest.raises(UsageError, match=sentence):
        read_picture(str(tmp_path / name))
    assert list(recwarn) == []


def test_a_pipe_that_nobody_writes_is_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "pipe.png")
    with pytest.raises(UsageError, match="is empty, or no picture"):
        read_picture(str(tmp_path / "pipe.png"))


def test_a_device_is_said_to_be_one():
    with pytest.raises(UsageError, match="--image /dev/zero is a device and no picture; name a png"):
        read_picture("/dev/zero")


def test_a_picture_comes_through_a_pipe_however_slowly():
    """As `--image <(convert ...)` gives it."""
    source, sink = os.pipe()
    buffer = io.BytesIO()
    plain(size=(64, 48)).save(buffer, "PNG")

    def write() -> None:
        for part in (buffer.getvalue()[:50], buffer.getvalue()[50:]):
            time.sleep(0.02)  # so that the reader is there first
            os.write(sink, part)
        os.close(sink)

    writer = threading.Thread(target=write)
    writer.start()
    try:
        assert read_picture(f"/dev/fd/{source}").shape == (48, 64, 3)
    finally:
        writer.join()
        os.close(source)


@pytest.mark.parametrize("name", ["http://example.com/a.png", ""])
def test_a_picture_that_is_not_there_is_called_as_it_was_typed(name):
    with pytest.raises(UsageError, match=f"^no picture at --image '{name}'"):
        looked_at(name, "none")


def test_a_picture_starts_no_program(tmp_path, monkeypatch):
    """Pillow gives EPS to Ghostscript, whatever the file is called."""
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    (tmp_path / "gs").write_text(f"#!/bin/sh\ntouch {tmp_path}/started\n")
    (tmp_path / "gs").chmod(0o755)
    plain(size=(64, 64)).save(tmp_path / "portrait.png", "EPS")
    monkeypatch.setattr(EpsImagePlugin, "gs_binary", None)  # looked for anew
    with pytest.raises(UsageError, match="no picture that Pillow can read"):
        read_picture(str(tmp_path / "portrait.png"))
    assert not (tmp_path / "started").exists()


def ramp(height: int, width: int) -> np.ndarray:
    """Brighter from left to right, and green from top to bottom: says where a pixel came from."""
    across, down = np.meshgrid(np.linspace(0, 255, width), np.linspace(0, 255, height))
    return np.stack([across, down, np.zeros_like(down)], axis=-1).round().astype(np.uint8)


def test_a_picture_of_the_model_s_size_is_taken_as_it_is():
    picture = ramp(16, 24)
    portrait = placed(Seen(picture, Face((3, 2, 10, 9))), (16, 24))
    assert torch.equal(portrait.reference[0].permute(1, 2, 0), torch.from_numpy(picture))
    assert portrait.face_mask is not None
    assert portrait.face_mask[0, 0].sum() == portrait.face_mask[0, 0, 2:9, 3:10].sum() == 49
    assert portrait.shown == (0, 0, 24, 16)


def test_the_cut_follows_the_face_along_its_free_axis():
    picture = ramp(100, 400)
    bright = []
    for left in (0, 150, 320):
        portrait = placed(Seen(picture, Face((left, 30, left + 40, 70))), (16, 24))
        assert portrait.face_mask is not None
        rows, columns = torch.nonzero(portrait.face_mask[0, 0], as_tuple=True)
        assert columns.max() - columns.min() + 1 == pytest.approx(40 * 0.16, abs=2)
        face = portrait.reference[0, 0][rows, columns].float().mean()
        assert face == pytest.approx(255 * (left + 20) / 400, abs=6)
        bright.append(portrait.reference[0, 0].float().mean())
    assert all(before < after for before, after in pairwise(bright))


@pytest.mark.parametrize("face", [None, Face((10, 0, 90, 100)), Face((20, 20, 80, 75))])
def test_where_the_cut_would_lose_the_face_bars_are_added_and_the_film_leaves_them_out(face):
    portrait = placed(Seen(ramp(100, 100), face), (16, 24))
    assert portrait.shown == (4, 0, 20, 16)
    x0, y0, x1, y1 = portrait.shown
    assert portrait.reference[..., :x0].sum() == portrait.reference[..., x1:].sum() == 0
    assert portrait.face_mask is not None
    assert portrait.face_mask[..., :x0].sum() == portrait.face_mask[..., x1:].sum() == 0
    assert portrait.face_mask[..., y0:y1, x0:x1].mean() >= 0.3


@pytest.mark.parametrize("size", [(1, 1), (1, 900), (900, 1), (3, 5), (333, 111)])
@pytest.mark.parametrize("fit", ["auto", "crop", "pad", "square", "stretch"])
def test_any_size_of_picture_fills_the_model_s_size_and_a_film_of_even_sides(size, fit):
    portrait = placed(Seen(ramp(*size), None), (16, 24), fit)
    assert portrait.reference.shape == (1, 3, 16, 24)
    x0, y0, x1, y1 = portrait.shown
    assert 0 <= x0 < x1 <= 24
    assert 0 <= y0 < y1 <= 16
    assert (x1 - x0) % 2 == (y1 - y0) % 2 == 0


@pytest.mark.parametrize("box", ["1,2,3", "a,b,c,d", "5,5,5,9", "50,0,60,5", "nowhere", "", "nan,0,5,5"])
def test_a_face_that_is_no_box_in_the_picture_is_said(tmp_path, box):
    plain(size=(40, 30)).save(tmp_path / "portrait.png")
    with pytest.raises(UsageError, match="left,top,right,bottom"):
        looked_at(str(tmp_path / "portrait.png"), box)


def test_a_folder_without_detector_files_is_said_with_the_option_that_gave_it(tmp_path):
    plain(size=(40, 30)).save(tmp_path / "portrait.png")
    with pytest.raises(UsageError, match="give that with --face; "):
        looked_at(str(tmp_path / "portrait.png"), str(tmp_path))


def test_a_face_may_reach_beyond_the_picture(tmp_path):
    plain(size=(40, 30)).save(tmp_path / "portrait.png")
    face = looked_at(str(tmp_path / "portrait.png"), "-5,-5,500,20").face
    assert face is not None
    assert face.box == (0, 0, 40, 20)


def test_a_face_that_nobody_told_of_is_warned_about(tmp_path):
    plain().save(tmp_path / "portrait.png")
    assert "whole picture counts as face" in looked_at(str(tmp_path / "portrait.png"), "none").warning
    assert looked_at(str(tmp_path / "portrait.png"), "1,1,4,4").warning == ""


def test_weights_that_read_a_face_embedding_need_one(tmp_path):
    plain().save(tmp_path / "portrait.png")
    with pytest.raises(UsageError, match="face embedding"):
        looked_at(str(tmp_path / "portrait.png"), "1,1,4,4", embedded=True)
