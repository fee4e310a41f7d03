"""A folder of small videos, good ones and one of each kind that is dropped; made once, to be read only."""

import json
import os
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from datamodules.prepare.face import Face
from datamodules.prepare.sources import Source, find_sources
from datamodules.synthetic.take import make_take
from datamodules.video.video_file import write_mp4
from hallo3_lightning.geometry import audio_samples

FRAMES, SIDE = 26, 32
EMBEDDING = [1.0, 2.5, -3.0]


def take(number: int, frames: int = FRAMES) -> tuple[np.ndarray, np.ndarray]:
    """Frames [F, SIDE, SIDE, 3] and sound [S] of a procedural talking head."""
    made = make_take(3, number, frames=frames, size=SIDE)
    assert made.waveform is not None
    return np.asarray(made.video), made.waveform


def write(file: Path, frames: np.ndarray, waveform: np.ndarray | None, caption: str | None = "a head") -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    write_mp4(file, frames, waveform)
    if caption is not None:
        file.with_suffix(".txt").write_text(caption)


@pytest.fixture(scope="session")
def videos(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("videos")
    for number, name in enumerate(["anna/1", "anna/2", "bert/1", "carla/1"]):
        write(folder / f"{name}.mp4", *take(number), caption=f"this is {name}")
    long = [np.concatenate(parts) for parts in zip(take(5, 27), take(6, 60), take(7, 10), strict=True)]
    write(folder / "dora/three scenes.mp4", *long)
    write(folder / "short.mp4", *take(8, 7))
    write(folder / "mute.mp4", take(9)[0], None)
    write(folder / "silent.mp4", take(9)[0], np.zeros(audio_samples(FRAMES), np.int16))
    write(folder / "unnamed.mp4", *take(9), caption=None)
    write(folder / "tiny.mp4", take(9)[0][:, ::4, ::4], take(9)[1])
    write(folder / "empty room.mp4", *take(9))
    write(folder / "crowd.mp4", *take(9))
    (folder / "broken.mp4").write_text("this is no video")
    (folder / "broken.txt").write_text("a caption")
    (folder / "zero.mp4").touch()
    (folder / "zero.txt").write_text("a caption")
    write_faces(folder)
    return folder


def write_faces(folder: Path) -> None:
    """A face that moves from frame 10 on, in each video but the empty room; two in the crowd."""
    lines = []
    for video in sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*.mp4")):
        first, later = face(8, 4, 20, 22), face(10, 6, 24, 21)
        others = [face(20, 20, 31, 31)] if video == "crowd.mp4" else []
        if video != "empty room.mp4":
            lines.append({"video": video, "frame": 0, "faces": [first, *others]})
            lines.append({"video": video, "frame": 10, "faces": [later, *others]})
    (folder / "faces.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))


def face(*box: float) -> dict[str, list[float]]:
    return {"box": list(box), "embedding": EMBEDDING}


@pytest.fixture(scope="session")
def sources(videos: Path) -> list[Source]:
    return find_sources(videos, None, "folder")


@dataclass(frozen=True)
class Deadly:
    """Finds a face everywhere, and ends the process at one video: as a crash in a decoder does."""

    video: str
    fingerprint: str = "deadly"
    knows_identities: bool = False

    def told_of(self, video: str) -> str:
        return ""

    def faces(self, frame: np.ndarray, video: str, number: int) -> list[Face]:
        if video == self.video:
            os._exit(9)
        return [Face((8, 4, 20, 22))]

    def embedding(self, frame: np.ndarray, face: Face) -> np.ndarray | None:
        return None
