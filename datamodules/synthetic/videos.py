"""synthesize --mp4: procedural talking heads as a folder of videos, as a user would bring them to `hallo3 prepare`."""

import json
from pathlib import Path

from datamodules.shards import Sample
from datamodules.synthetic.take import make_take
from datamodules.synthetic.write import checked
from datamodules.video_file import write_mp4
from hallo3_lightning.errors import UsageError

FACES = "faces.jsonl"


def write_videos(folder: Path, *, takes: int, frames: int, size: int, seed: int = 0, yaw_max: float = 0.5) -> Path:
    """Write folder/0000000.mp4 and so on with sound, each with its caption as .txt, and folder/faces.jsonl.

    The faces are what is true of them: the box around all that the head ever covers, and the identity. Sizes as in
    `synthesize`. The folder, which must be empty, is returned.
    """
    checked(takes, 1, frames, size, seed, yaw_max)
    folder.mkdir(parents=True, exist_ok=True)
    if any(folder.iterdir()):
        raise UsageError(f"{folder} is not empty; choose another folder, or remove this one to write the videos anew")
    lines = []
    for number in range(takes):
        take = make_take(seed, number, frames=frames, size=size, yaw_max=yaw_max)
        write_mp4(folder / f"{take.key}.mp4", take.video[:], take.waveform)
        (folder / f"{take.key}.txt").write_text(take.caption + "\n", encoding="utf-8")
        lines.append(json.dumps(_face(take)))
    (folder / FACES).write_text("".join(f"{line}\n" for line in lines))
    return folder


def _face(take: Sample) -> dict[str, object]:
    """A line of faces.jsonl (datamodules/prepare/faces.py says what is in it): it holds for all frames."""
    assert take.face_embedding is not None
    face = {"box": take.facts["face_box"], "embedding": take.face_embedding.tolist()}
    return {"video": f"{take.key}.mp4", "frame": 0, "faces": [face]}
