"""A talking head drawn with numpy, all frames at once.

The head is an ellipsoid. Each pixel's ray is brought into head coordinates and met with it exactly, so eyes, brows,
lips, mouth and hair, painted by longitude and latitude, turn truly with yaw, pitch and roll. Edges are anti-aliased
by the part of a pixel that a shape covers, not by rendering larger.

Axes: F frames, H W pixels. Lengths in head units: the frame is 2 * HALF_FRAME high.
"""

from dataclasses import dataclass

import numpy as np

from datamodules.synthetic.identity import Identity
from datamodules.synthetic.scene import Scene
from hallo3_lightning.geometry import FPS

HALF_FRAME = 0.72
"""So near that at 32 x 32 the mouth is 5 to 8 pixels wide."""

CAVITY = np.array([0.34, 0.02, 0.05], np.float32)
"""Colour of the open mouth; nothing else is as red."""

WHITE, PUPIL = (0.95, 0.95, 0.95), (0.04, 0.04, 0.05)
EYE_LATITUDE = 0.17
OPENING = 0.20
"""Half height of the mouth at aperture 1, in radians of latitude."""


@dataclass(frozen=True)
class Picture:
    """F rendered frames with what is seen where; coverages are uint8, 255 for a whole pixel."""

    video: np.ndarray
    """[F, H, W, 3] uint8."""
    foreground: np.ndarray
    """[F, H, W] head, neck and shoulders."""
    face: np.ndarray
    """[F, H, W] the head alone, hair included."""
    lip: np.ndarray
    """[F, H, W] lips and what is between them."""
    cavity: np.ndarray
    """[F, H, W] the open mouth."""
    mouth_xy: np.ndarray
    """[F, 2] float32 middle of the mouth in pixels, right and down; (0, 0) is the middle of the first pixel."""


@dataclass(frozen=True)
class _Frame:
    """Places of the pixels: x [1, 1, W] right, y [1, H, 1] up."""

    x: np.ndarray
    y: np.ndarray
    pixel: float


@dataclass(frozen=True)
class _Surface:
    """Where each pixel meets the head: `point` on the unit sphere, three of [F, H, W]."""

    point: tuple[np.ndarray, np.ndarray, np.ndarray]
    longitude: np.ndarray
    latitude: np.ndarray
    coverage: np.ndarray
    pixel: float
    """Height of a pixel in radians of latitude, about."""


def render(identity: Identity, scene: Scene, aperture: np.ndarray, width: np.ndarray, size: int) -> Picture:
    """F square frames of `size` pixels; aperture [F] in [0, 1] and width [F] of the mouth."""
    pixel = 2 * HALF_FRAME / size
    places = ((np.arange(size) + 0.5) * pixel - HALF_FRAME).astype(np.float32)
    frame = _Frame(places[None, None, :], -places[None, :, None], pixel)
    turn = rotation(scene)
    surface = _meet(frame, scene, turn, identity.axes)
    lip, cavity = _mouth(surface, identity, aperture, width)
    skin = _painted(surface, identity, scene, lip, cavity)
    head = skin * _lit(surface, identity, scene, turn)[..., None]
    nose, nose_colour = _nose(frame, scene, turn, identity)

    image = _background(frame, scene)
    body = _body(image, frame, scene, identity)
    _over(image, surface.coverage, head)
    _over(image, nose, nose_colour)
    seen = surface.coverage * (1 - nose)
    return Picture(
        video=_bytes(image),
        foreground=_bytes(np.maximum(body, np.maximum(surface.coverage, nose))),
        face=_bytes(np.maximum(surface.coverage, nose)),
        lip=_bytes(lip * seen),
        cavity=_bytes(cavity * seen),
        mouth_xy=_mouth_xy(identity, scene, turn, aperture, pixel, size),
    )


def rotation(scene: Scene) -> np.ndarray:
    """[F, 3, 3] float32 that take head coordinates to camera coordinates: yaw first, then pitch, then roll."""
    zero, one = np.zeros(len(scene), np.float32), np.ones(len(scene), np.float32)

    def matrix(*rows: list[np.ndarray]) -> np.ndarray:
        return np.stack([np.stack(row, -1) for row in rows], -2)

    (cy, sy), (cp, sp), (cr, sr) = ((np.cos(a), np.sin(a)) for a in (scene.yaw, scene.pitch, scene.roll))
    yaw = matrix([cy, zero, sy], [zero, one, zero], [-sy, zero, cy])
    pitch = matrix([one, zero, zero], [zero, cp, sp], [zero, -sp, cp])
    roll = matrix([cr, -sr, zero], [sr, cr, zero], [zero, zero, one])
    return (roll @ pitch @ yaw).astype(np.float32)


def _meet(frame: _Frame, scene: Scene, turn: np.ndarray, axes: np.ndarray) -> _Surface:
    """Solve |(R' (x, y, z)) / axes| = 1 for the nearer z at each pixel; rays that miss get the point they pass nearest."""
    x, y = frame.x - _each(scene.position[:, 0]), frame.y - _each(scene.position[:, 1])
    start = [(_each(turn[:, 0, j]) * x + _each(turn[:, 1, j]) * y) / axes[j] for j in range(3)]
    along = [_each(turn[:, 2, j]) / axes[j] for j in range(3)]
    a = sum(d * d for d in along)
    b = sum(q * d for q, d in zip(start, along, strict=True))
    c = sum(q * q for q in start) - 1
    inside = (b * b - a * c) / a
    radius = np.sqrt(np.maximum(1 - inside, 0))
    z = (np.sqrt(np.maximum(inside, 1e-4) * a) - b) / a
    right, up, front = (q + z * d for q, d in zip(start, along, strict=True))
    return _Surface(
        point=(right, up, front),
        longitude=np.arctan2(right, front),
        latitude=np.arcsin(np.clip(up, -1, 1)),
        coverage=np.clip(0.5 + (1 - radius) * 0.6 / frame.pixel, 0, 1),
        pixel=frame.pixel / 0.62,
    )


def _oval(
    surface: _Surface,
    longitude: float,
    latitude: np.ndarray | float,
    half_width: np.ndarray | float,
    half_height: np.ndarray | float,
) -> np.ndarray:
    """How much of each pixel's height an ellipse on the head covers: exact in latitude, so nothing for height 0."""
    across = (surface.longitude - longitude) / half_width
    half = half_height * np.sqrt(np.clip(1 - across * across, 0, 1))
    away = surface.latitude - latitude
    covered = np.minimum(away + surface.pixel / 2, half) - np.maximum(away - surface.pixel / 2, -half)
    return np.clip(covered, 0, None) / surface.pixel


def _mouth(
    surface: _Surface, identity: Identity, aperture: np.ndarray, width: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Coverage of the lips with all between them, and of the cavity: [F, H, W] each."""
    half_width = identity.geometry["mouth_width"] * (0.55 + 0.45 * _each(width))
    half_height = OPENING * _each(aperture)
    latitude = identity.geometry["mouth_latitude"] - 0.35 * half_height  # the jaw drops more than the upper lip rises
    cavity = _oval(surface, 0, latitude, half_width, half_height)
    lip = _oval(surface, 0, latitude, half_width * 1.18, half_height + identity.geometry["lip"])
    return np.maximum(lip, cavity), cavity


def _painted(surface: _Surface, identity: Identity, scene: Scene, lip: np.ndarray, cavity: np.ndarray) -> np.ndarray:
    """Colour of the head before light: [F, H, W, 3]."""
    shape, radius = identity.geometry, identity.geometry["eye_radius"]
    colour = np.broadcast_to(identity.skin, (*surface.latitude.shape, 3)).copy()
    opened = _each(1 - 0.95 * scene.blink)
    for side in (-1, 1):
        place = side * shape["eye_spacing"]
        white = _oval(surface, place, EYE_LATITUDE, radius * 1.15, radius * 0.75 * opened)
        _over(colour, white, WHITE)
        _over(colour, _oval(surface, place, EYE_LATITUDE, radius * 0.62, radius * 0.70 * opened) * white, identity.eyes)
        _over(colour, _oval(surface, place, EYE_LATITUDE, radius * 0.30, radius * 0.35 * opened), PUPIL)
        _over(
            colour,
            _oval(surface, place, EYE_LATITUDE + radius * 1.35, radius * 1.25, shape["brow"]),
            identity.hair * 0.8,
        )
    _over(colour, lip, identity.lips)
    _over(colour, cavity, CAVITY)
    side_of_head = np.clip((np.abs(surface.longitude) - 0.95) / 0.5, 0, 1)
    eased = side_of_head**2 * (3 - 2 * side_of_head)
    hairline = shape["hairline"] + (shape["hair_side"] - shape["hairline"]) * eased
    _over(colour, np.clip((surface.latitude - hairline) / surface.pixel + 0.5, 0, 1), identity.hair)
    return colour


def _lit(surface: _Surface, identity: Identity, scene: Scene, turn: np.ndarray) -> np.ndarray:
    """Lambert's light on the ellipsoid [F, H, W]: the normal is the point over the axes, the lamp turned into the head."""
    normal = [p / axis for p, axis in zip(surface.point, identity.axes, strict=True)]
    length = np.sqrt(sum(n * n for n in normal))
    lamp = np.einsum("fij,fi->fj", turn, scene.light_direction)
    facing = sum(n * _each(lamp[:, j]) for j, n in enumerate(normal)) / length
    return _brightness(scene, facing)


def _brightness(scene: Scene, facing: np.ndarray) -> np.ndarray:
    return _each(scene.light_strength) * (scene.ambient + (1 - scene.ambient) * 1.25 * np.clip(facing, 0, 1))


def _nose(frame: _Frame, scene: Scene, turn: np.ndarray, identity: Identity) -> tuple[np.ndarray, np.ndarray]:
    """A small ball on the face: coverage [F, H, W] and lit colour [F, H, W, 3]; gone when the head looks away."""
    tip = np.array([0, -0.12, 0.99], np.float32) * identity.axes
    middle = np.einsum("fij,j->fi", turn, tip)
    radius = identity.geometry["nose"]
    right = (frame.x - _each(scene.position[:, 0] + middle[:, 0])) / radius
    up = (frame.y - _each(scene.position[:, 1] + middle[:, 1])) / (radius * 1.2)
    distance = np.sqrt(right * right + up * up)
    front = np.sqrt(np.clip(1 - distance * distance, 0, 1))
    lamp = [_each(scene.light_direction[:, j]) for j in range(3)]
    light = 0.96 * _brightness(scene, right * lamp[0] + up * lamp[1] + front * lamp[2])
    coverage = np.clip((1 - distance) * radius / frame.pixel + 0.5, 0, 1) * _each(middle[:, 2] > -0.1)
    return coverage, identity.skin * light[..., None]


def _background(frame: _Frame, scene: Scene) -> np.ndarray:
    """Two colours in soft waves, the horizontal ones drifting: [F, H, W, 3]."""
    drift = _each(np.arange(len(scene)) / FPS * scene.background_motion)
    waves = 0.25 * np.sin(4 * frame.x + scene.background_phase[0] + drift)
    waves = waves + 0.25 * np.sin(3 * frame.y + scene.background_phase[1])
    share = (0.5 + waves)[..., None].astype(np.float32)
    return scene.background[0] * (1 - share) + scene.background[1] * share


def _body(image: np.ndarray, frame: _Frame, scene: Scene, identity: Identity) -> np.ndarray:
    """Paint neck and shoulders into the image, half following the head; returns their coverage [F, H, W]."""
    right = frame.x - 0.5 * _each(scene.position[:, 0])
    light = _each(scene.light_strength)[..., None]
    neck = np.clip((0.22 - np.abs(right)) / frame.pixel + 0.5, 0, 1) * (frame.y < -0.45)
    top = -0.72 - 0.35 * (right / 0.9) ** 2 + 0.10
    shoulders = np.clip((top - frame.y) / frame.pixel + 0.5, 0, 1)
    shoulders = shoulders * np.clip((0.85 - np.abs(right)) / frame.pixel, 0, 1)
    _over(image, neck, identity.skin * 0.64 * light)
    _over(image, shoulders, identity.cloth * 0.9 * light)
    return np.maximum(neck, shoulders)


def _mouth_xy(
    identity: Identity, scene: Scene, turn: np.ndarray, aperture: np.ndarray, pixel: float, size: int
) -> np.ndarray:
    latitude = identity.geometry["mouth_latitude"] - 0.35 * OPENING * aperture
    on_head = np.stack([0 * aperture, np.sin(latitude), np.cos(latitude)], -1) * identity.axes
    place = np.einsum("fij,fj->fi", turn, on_head)[:, :2] + scene.position
    down = place * np.array([1, -1]) / pixel
    return (down + size / 2 - 0.5).astype(np.float32)


def _over(image: np.ndarray, coverage: np.ndarray, colour: np.ndarray | tuple[float, ...]) -> None:
    """Lay a colour over the image, in place: the picture is built up in one buffer."""
    image += coverage[..., None] * (np.asarray(colour, np.float32) - image)


def _each(track: np.ndarray) -> np.ndarray:
    """[F] float32 made to broadcast over pixels: [F, 1, 1]."""
    return np.asarray(track, np.float32)[:, None, None]


def _bytes(share: np.ndarray) -> np.ndarray:
    return np.rint(np.clip(share, 0, 1) * 255).astype(np.uint8)
