"""One take: a person, a scene and a speech, rendered into a Sample with everything that is true of it."""

import numpy as np
from numpy.random import Generator, default_rng

from datamodules.shards import Sample
from datamodules.synthetic.head import Picture, render
from datamodules.synthetic.identity import Identity, draw_identity, face_embedding
from datamodules.synthetic.scene import Scene, draw_scene
from datamodules.synthetic.speech import Speech, speak
from hallo3_lightning.geometry import FPS

SIDEWAYS = 0.15
"""Radians of yaw from which a caption says where the head looks."""


def draws(seed: int, number: int) -> tuple[Generator, Generator, Generator]:
    """Generators for the identity, the speech and the scene of take `number`: pure functions of (seed, number)."""
    identity, speech, scene = (default_rng([seed, number, purpose]) for purpose in range(3))
    return identity, speech, scene


def make_take(
    seed: int,
    number: int,
    *,
    frames: int = 34,
    size: int = 32,
    yaw_max: float = 0.5,
    split: str = "train",
) -> Sample:
    """Take `number` of a data set: F frames of size x size pixels with sound, caption and ground truth."""
    identity_rng, speech_rng, scene_rng = draws(seed, number)
    identity = draw_identity(identity_rng)
    speech = speak(frames, speech_rng, identity.pitch_hz)
    scene = draw_scene(frames, scene_rng, yaw_max)
    return film(identity, speech, scene, size=size, key=f"{number:07d}", split=split)


def film(identity: Identity, speech: Speech, scene: Scene, *, size: int, key: str, split: str = "train") -> Sample:
    """The sample that shows this person speaking so in this scene."""
    picture = render(identity, scene, speech.aperture, speech.width, size)
    facts = {
        "frames": len(scene),
        "fps": FPS,
        "height": size,
        "width": size,
        "face_box": face_box(picture.face),
        "identity": key,
        "split": split,
    }
    return Sample(
        key=key,
        facts=facts,
        video=picture.video,
        waveform=np.rint(speech.waveform * 32767).astype(np.int16),
        caption=caption(identity, scene),
        face_embedding=face_embedding(identity),
        truth=truth(speech, scene, picture),
    )


def truth(speech: Speech, scene: Scene, picture: Picture) -> dict[str, np.ndarray]:
    """Per-frame ground truth, each [F, ...]: float32 tracks, and uint8 masks of which 255 is a whole pixel.

    aperture, width of the mouth; yaw, pitch, roll in radians; position [F, 2]; blink; light_direction [F, 3];
    light_strength; background_motion in radians a second; mouth_xy [F, 2] in pixels; foreground, lip and cavity
    [F, H, W].
    """
    tracks = {
        "aperture": speech.aperture,
        "width": speech.width,
        "yaw": scene.yaw,
        "pitch": scene.pitch,
        "roll": scene.roll,
        "position": scene.position,
        "blink": scene.blink,
        "light_direction": scene.light_direction,
        "light_strength": scene.light_strength,
        "background_motion": scene.background_motion,
        "mouth_xy": picture.mouth_xy,
    }
    masks = {"foreground": picture.foreground, "lip": picture.lip, "cavity": picture.cavity}
    return {name: track.astype(np.float32) for name, track in tracks.items()} | masks


def face_box(face: np.ndarray) -> list[int]:
    """[x0, y0, x1, y1] in pixels, x1 and y1 exclusive, around every pixel that the head [F, H, W] half covers."""
    ever = np.any(face >= 128, axis=0)
    columns, rows = np.flatnonzero(np.any(ever, axis=0)), np.flatnonzero(np.any(ever, axis=1))
    return [int(columns[0]), int(rows[0]), int(columns[-1]) + 1, int(rows[-1]) + 1]


def caption(identity: Identity, scene: Scene) -> str:
    """One sentence of what is true of the take; left and right are those of the picture."""
    words = identity.words
    person = f"A person with {words['hair']} hair, {words['skin']} skin and {words['cloth']} clothes"
    where = _side(float(scene.yaw.mean()), SIDEWAYS, "talks to the left", "talks to the right", "talks to the camera")
    light = _side(float(scene.light_direction[:, 0].mean()), 0.25, "from the left", "from the right", "from the front")
    moving = "moving" if scene.background_motion.any() else "still"
    return f"{person} {where}, lit {light}, in front of a {moving} background."


def _side(value: float, threshold: float, left: str, right: str, middle: str) -> str:
    if abs(value) < threshold:
        return middle
    return right if value > 0 else left
