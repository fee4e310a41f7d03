"""synthesize --mp4: procedural talking heads as a folder of videos, as a user would bring them to `hallo3 prepare`."""

import json
from pathlib import Path

import numpy as np

from datamodules.claim import make_folder
from datamodules.shards import Sample
from datamodules.synthetic.autoencoder import FITTED_TAKES, FOLDER, check_autoencoder, write_autoencoder
from datamodules.synthetic.take import make_take
from datamodules.synthetic.write import checked
from datamodules.video.video_file import write_mp4
from hallo3_lightning.errors import UsageError

FACES = "faces.jsonl"
CONDITIONS = "conditions.jsonl"


def write_videos(
    folder: Path,
    *,
    takes: int,
    frames: int,
    size: int,
    seed: int = 0,
    yaw_max: float = 0.5,
    patch: int = 4,
    channels: int = 16,
) -> Path:
    """Write folder/0000000.mp4 and so on with sound, each with its caption as .txt, folder/faces.jsonl,
    folder/conditions.jsonl, and an autoencoder fitted to them.

    The faces are what is true of them: the box around all that the head ever covers, and the identity. So are the
    conditions: `hallo3 evaluate` reads them, and `hallo3 strata` parts scores by them. Sizes as in
    `synthesize` and `fit_autoencoder`. The folder, which must be empty, is returned.
    """
    check_autoencoder(checked(takes, 1, frames, size, seed, yaw_max), patch, channels)
    make_folder(folder)
    if any(folder.iterdir()):
        raise UsageError(f"{folder} is not empty; choose another folder, or remove this one to write the videos anew")
    lines, conditions = [], []
    made = (make_take(seed, number, frames=frames, size=size, yaw_max=yaw_max) for number in range(takes))
    fitted: list[np.ndarray] = []
    for take in made:
        write_mp4(folder / f"{take.key}.mp4", take.video[:], take.waveform)
        (folder / f"{take.key}.txt").write_text(take.caption + "\n", encoding="utf-8")
        lines.append(json.dumps(_face(take)))
        conditions.append(json.dumps(_conditions(take)))
        fitted += [take.video[:]] if len(fitted) < FITTED_TAKES else []
    (folder / FACES).write_text("".join(f"{line}\n" for line in lines))
    (folder / CONDITIONS).write_text("".join(f"{line}\n" for line in conditions))
    write_autoencoder(folder / FOLDER, fitted, patch, channels)
    return folder


def _face(take: Sample) -> dict[str, object]:
    """A line of faces.jsonl (datamodules/prepare/faces_file.py says what is in it): it holds for all frames."""
    assert take.face_embedding is not None
    face = {"box": take.facts["face_box"], "embedding": take.face_embedding.tolist()}
    return {"video": f"{take.key}.mp4", "frame": 0, "faces": [face]}


def _conditions(take: Sample) -> dict[str, object]:
    """A line of conditions.jsonl, in the units of evaluation/conditions.py: means over frames."""
    assert take.truth is not None
    towards_camera = np.clip(take.truth["light_direction"][:, 2], -1, 1)
    return {
        "clip": take.key,
        "identity": take.facts["identity"],
        "yaw": round(float(np.rad2deg(np.abs(take.truth["yaw"])).mean()), 3),
        "light": round(float(np.rad2deg(np.arccos(towards_camera)).mean()), 3),
        "background": round(float(np.abs(take.truth["background_motion"]).mean()), 6),
    }
