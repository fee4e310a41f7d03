"""What becomes the reference: a picture, or a sample of shards, placed into the model's size by the face."""

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from einops import rearrange
from torch import Tensor

from datamodules.bad_sample import BadSample
from datamodules.index import open_index
from datamodules.prepare.face import Face
from datamodules.prepare.faces import finder
from datamodules.prepare.framing import Box, Framing, framing
from hallo3_lightning.errors import UsageError
from hallo3_lightning.film.picture import read_picture

FITS = ("auto", "crop", "pad", "square", "stretch")
"""How a picture fills the model's size: auto, and those of `datamodules.prepare.framing`."""

ROOM = 0.5
"""Of the face box's sides, what `auto` wants to see around it before it cuts: less, and it adds bars instead."""


@dataclass(frozen=True, eq=False)
class Portrait:
    """One reference, as a sample of shards would hold it."""

    reference: Tensor
    """[1, 3, H, W] uint8."""
    face_mask: Tensor | None
    """[1, 1, H, W] float, 1 inside the face box; None where the whole picture counts as face."""
    face_embedding: Tensor | None
    """[1, E] float32, not normalised."""
    shown: tuple[int, int, int, int]
    """x0, y0, x1, y1 of H x W: where the picture is, and not the bars beside it; even numbers."""
    caption: str | None = None
    """Of a sample."""
    warning: str = ""
    """One sentence for the user; empty where all is known."""


@dataclass(frozen=True, eq=False)
class Seen:
    """A picture [h, w, 3] uint8 and the face in it, before it is placed."""

    picture: np.ndarray
    face: Face | None
    embedding: np.ndarray | None = None
    caption: str | None = None
    warning: str = ""


def check_fit(fit: str) -> None:
    """Raise UsageError for what is none of FITS."""
    if fit not in FITS:
        raise UsageError(f"--fit is {fit}; expected one of {', '.join(FITS)}")


def looked_at(image: str, face: str, embedded: bool = False) -> Seen:
    """What --image and --face mean.

    image: a picture file, or SHARDS:SPLIT/KEY for the first frame of a sample with its face box and embedding. face:
    left,top,right,bottom in pixels of the upright picture, a folder of detector files, or none. embedded: whether the
    weights read a face embedding. Raises UsageError for what cannot be read or found.
    """
    at = sample_address(image)
    seen = of_sample(*at) if at else of_picture(image, face, embedded)
    if embedded and seen.embedding is None:
        raise UsageError(
            f"these weights read a face embedding and --image {image} has none: give --face FOLDER with detector and "
            "embedder files (`hallo3 doctor --for prepare` names them), or a sample of shards as --image SHARDS:SPLIT/KEY"
        )
    return seen


def sample_address(image: str) -> tuple[Path, str, str] | None:
    """Shards, split and key of SHARDS:SPLIT/KEY; None for a name of another form, or of a file that is there."""
    folder, colon, address = image.rpartition(":")
    split, slash, key = address.partition("/")
    if Path(image).exists() or not (colon and slash and key and Path(folder).is_dir()):
        return None
    return Path(folder), split, key


def of_sample(shards: Path, split: str, key: str) -> Seen:
    """The first frame of a sample, with what the shards say of its face."""
    index = open_index(shards / split)
    try:
        sample = index.read(index.number(key))
        picture = np.asarray(sample.video[0])
    except BadSample as error:
        raise UsageError(f"--image {shards}:{split}/{key} cannot be read: {error}") from error
    box = sample.facts["face_box"]
    face = None if box is None else Face(tuple(map(float, box)))  # type: ignore[arg-type]
    return Seen(picture, face, sample.face_embedding, sample.caption)


def of_picture(image: str, face: str, embedded: bool) -> Seen:
    """A picture file, and the face that --face says or finds."""
    picture = read_picture(image)
    if face == "none":
        warning = (
            "no --face: the whole picture counts as face; give left,top,right,bottom or a folder of detector files"
        )
        return Seen(picture, None, warning=warning)
    if face and Path(face).is_dir():  # the name of nothing is that of the folder one is in
        return _found(picture, image, Path(face), embedded)
    return Seen(picture, Face(_box(face, picture.shape)))


def _found(picture: np.ndarray, image: str, folder: Path, embedded: bool) -> Seen:
    found = finder(folder, with_embeddings=embedded, option="--face")
    assert found is not None
    faces = found.faces(picture, Path(image).name, 0)
    if not faces:
        raise UsageError(
            f"no face was found in --image {image}; give its box as --face left,top,right,bottom, or --face none"
        )
    warning = f"{len(faces)} faces were found; the largest is animated" if len(faces) > 1 else ""
    embedding = found.embedding(picture, faces[0]) if embedded else None
    return Seen(picture, faces[0], embedding, warning=warning)


def _box(told: str, shape: tuple[int, ...]) -> Box:
    """The box that --face says, cut to the picture. Raises UsageError where it is none."""
    height, width = shape[:2]
    try:
        x0, y0, x1, y1 = (float(number) for number in told.split(","))
    except ValueError:
        raise UsageError(
            f"--face is '{told}'; expected left,top,right,bottom in pixels, a folder of detector files, or none"
        ) from None
    box = max(x0, 0.0), max(y0, 0.0), min(x1, float(width)), min(y1, float(height))
    if not (box[0] < box[2] and box[1] < box[3]):
        raise UsageError(
            f"--face {told} holds nothing of the picture, which is {width} x {height} pixels; expected "
            "left,top,right,bottom with left < right and top < bottom"
        )
    return box


def placed(seen: Seen, size: tuple[int, int], fit: str = "auto") -> Portrait:
    """The picture at the model's size (height, width), the face with it."""
    place = by_face(seen.picture.shape[:2], size, seen.face) if fit == "auto" else _plain(seen, size, fit)
    return Portrait(
        reference=rearrange(torch.from_numpy(place.draw(seen.picture)), "h w c -> 1 c h w"),
        face_mask=_mask(place, seen.face),
        face_embedding=None if seen.embedding is None else torch.tensor(seen.embedding, dtype=torch.float32)[None],
        shown=_even(place.target, size),
        caption=seen.caption,
        warning=seen.warning,
    )


def _plain(seen: Seen, size: tuple[int, int], fit: str) -> Framing:
    height, width = seen.picture.shape[:2]
    return framing((height, width), size, fit)


def by_face(source: tuple[int, int], size: tuple[int, int], face: Face | None) -> Framing:
    """The largest cut of the model's aspect, moved along its free axis to the face; bars where that would cut the face.

    `hallo3 prepare` cuts around the middle, and drops takes whose face that loses; the published sampling code puts
    bars beside squares and cuts the rest around the middle. Here the face, with ROOM around it as far as the picture
    goes, decides; a face that is not known may be anywhere, so nothing is cut.
    """
    height, width = source
    wanted = _with_room(face.box, source) if face is not None else (0.0, 0.0, float(width), float(height))
    cut = framing(source, size, "crop")
    across, down = cut.region[2] - cut.region[0], cut.region[3] - cut.region[1]
    if wanted[2] - wanted[0] > across + 1e-6 or wanted[3] - wanted[1] > down + 1e-6:
        return framing(source, size, "pad")
    x0 = min(max((wanted[0] + wanted[2] - across) / 2, 0.0), width - across)
    y0 = min(max((wanted[1] + wanted[3] - down) / 2, 0.0), height - down)
    return replace(cut, region=(x0, y0, x0 + across, y0 + down))


def _with_room(box: Box, source: tuple[int, int]) -> Box:
    height, width = source
    x0, y0, x1, y1 = box
    beside, above = ROOM * (x1 - x0), ROOM * (y1 - y0)
    return max(x0 - beside, 0.0), max(y0 - above, 0.0), min(x1 + beside, float(width)), min(y1 + above, float(height))


def _mask(place: Framing, face: Face | None) -> Tensor | None:
    """[1, 1, H, W], as datamodules.clip makes it of a sample's face box. Bars are no face even where all else is."""
    box = list(place.target) if face is None else place.box(face.box)
    whole = [0, 0, place.width, place.height]
    if box is None:
        raise UsageError("the face lies outside of what is shown of the picture; give --fit pad or --fit auto")
    if face is None and box == whole:
        return None
    x0, y0, x1, y1 = box
    mask = torch.zeros(1, 1, place.height, place.width)
    mask[..., y0:y1, x0:x1] = 1
    return mask


def _even(target: tuple[int, int, int, int], size: tuple[int, int]) -> tuple[int, int, int, int]:
    """H.264 has one colour for 2 x 2 pixels, so sides are even: what is odd is widened into the bars, if there are."""
    (x0, y0, x1, y1), (height, width) = target, size
    x1, y1 = min(x1 + (x1 - x0) % 2, width), min(y1 + (y1 - y0) % 2, height)
    return x0 + (x1 - x0) % 2, y0 + (y1 - y0) % 2, x1, y1
