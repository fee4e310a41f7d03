"""A film as pictures, one a file, or as one array: without loss, and without sound."""

import io
import os
import re
import shutil
import zipfile
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from einops import rearrange
from PIL import Image
from PIL.PngImagePlugin import PngInfo
from torch import Tensor

from hallo3_lightning.film.files.film import BEGINNING, FRAMES, PARTIAL, Place, behind, beside, on_disk
from hallo3_lightning.geometry import FPS

PICTURE = re.compile(r"\d{8}\.png")
"""Names of a film's pictures."""

NUMBER = "Frames"
"""What the first picture of a finished film says beside what all of them say: how many they are."""

AT_ONCE = 1 << 24
"""Bytes of frames that are copied at a time."""


class PngFilm:
    """A folder of 00000000.png, 00000001.png, ..., at 25 a second; each says in tEXt chunks what it is."""

    def __init__(self, folder: Path, notes: Mapping[str, str], start: Place = BEGINNING) -> None:
        folder.mkdir(exist_ok=True)
        self.folder, self.place, self._window = folder, start, start.frames
        self.notes = {name.capitalize(): text for name, text in notes.items()}

    def write(self, frames: Tensor) -> None:
        for image in _images(frames):
            data = _png(Image.fromarray(image), self.notes)
            picture(self.folder, self.place.frames).write_bytes(data)
            self.place = behind(self.place, data, 1)

    def end_window(self) -> Place:
        for number in range(self._window, self.place.frames):
            on_disk(picture(self.folder, number))
        on_disk(self.folder)
        self._window = self.place.frames
        return self.place

    def finish(self) -> None:
        """Remove pictures of a longer film that was here before, which would play on, and say how many they are."""
        for file in self.folder.iterdir():
            if PICTURE.fullmatch(file.name) and int(file.stem) >= self.place.frames:
                file.unlink()
        first = picture(self.folder, 0)
        aside = beside(first, PARTIAL)
        with Image.open(first, formats=["PNG"]) as image:
            aside.write_bytes(_png(image, {**self.notes, NUMBER: str(self.place.frames)}))
        on_disk(aside)
        aside.replace(first)
        on_disk(self.folder)

    def close(self) -> None:
        """Nothing stays open."""


def is_whole(folder: Path) -> bool:
    """Whether a folder has all pictures of a finished film."""
    first = picture(folder, 0)
    if not first.is_file():
        return False
    with Image.open(first, formats=["PNG"]) as image:
        told = image.info.get(NUMBER, "")
    return told.isdecimal() and all(picture(folder, number).is_file() for number in range(int(told)))


def picture(folder: Path, number: int) -> Path:
    """The file of a frame."""
    return folder / f"{number:08d}.png"


def _png(image: Image.Image, notes: Mapping[str, str]) -> bytes:
    info, data = PngInfo(), io.BytesIO()
    for name, text in notes.items():
        info.add_text(name, text)
    image.save(data, "PNG", pnginfo=info)
    return data.getvalue()


class NpzFilm:
    """One npz: `frames` [F, H, W, 3] uint8 at 25 a second, and provenance.json. Frames lie beside it until the end."""

    def __init__(self, path: Path, size: tuple[int, int], notes: Mapping[str, str], start: Place = BEGINNING) -> None:
        self.path, self.size, self.notes, self.place = path, size, notes, start
        self._raw = beside(path, FRAMES)
        if start == BEGINNING:
            path.unlink(missing_ok=True)  # until this film is finished, what is there is not ours to replace
        self._file = self._raw.open("r+b" if start.bytes else "wb")
        self._file.truncate(start.bytes)
        self._file.seek(start.bytes)

    def write(self, frames: Tensor) -> None:
        data = _images(frames).tobytes()
        self._file.write(data)
        self._file.flush()
        self.place = behind(self.place, data, len(frames))

    def end_window(self) -> Place:
        os.fsync(self._file.fileno())
        return self.place

    def finish(self) -> None:
        """Put the frames into the archive, a few at a time."""
        aside = beside(self.path, PARTIAL)
        header = {"descr": "|u1", "fortran_order": False, "shape": (self.place.frames, *self.size, 3)}
        with zipfile.ZipFile(aside, "w", compresslevel=1) as archive:
            with archive.open(_member("frames.npy"), "w", force_zip64=True) as member, self._raw.open("rb") as raw:
                np.lib.format.write_array_header_1_0(member, header)
                shutil.copyfileobj(raw, member, AT_ONCE)
            with archive.open(_member("fps.npy"), "w") as member:
                np.lib.format.write_array(member, np.array(FPS))
            for name, text in self.notes.items():
                archive.writestr(_member("provenance.json" if name == "comment" else f"{name}.txt"), text)
        on_disk(aside)
        aside.replace(self.path)
        on_disk(self.path.absolute().parent)
        self._raw.unlink()

    def close(self) -> None:
        self._file.close()


def _member(name: str) -> zipfile.ZipInfo:
    """Without a date: the same film has the same bytes."""
    info = zipfile.ZipInfo(name)
    info.compress_type = zipfile.ZIP_DEFLATED
    return info


def _images(frames: Tensor) -> np.ndarray:
    """[f, 3, H, W] uint8 -> [f, H, W, 3]."""
    return np.ascontiguousarray(rearrange(frames, "f c h w -> f h w c").cpu().numpy())
