"""Clips that a test leaves to be looked at and listened to: truth, reconstruction and what was generated, with sound.

samples/<source>/<number>.mp4   the frames, small ones enlarged, with the clip's own sound
samples/clips.json              what each of them is; written last, so that all it names is there
"""

import json
import math
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from einops import rearrange, reduce, repeat
from torch import Tensor

from datamodules.video.write_mp4 import write_mp4
from hallo3_lightning.ablation.runs import write_atomically
from hallo3_lightning.batch import Batch
from hallo3_lightning.errors import UsageError
from hallo3_lightning.evaluation.clip_metric import clip_names
from hallo3_lightning.evaluation.mouth import opening
from hallo3_lightning.evaluation.protocol import has
from hallo3_lightning.geometry import AUDIO_CONTEXT_FRAMES, SAMPLES_PER_FRAME, audio_samples

NAME = "clips.json"

LEAST_SIDE = 256
"""Pixels: smaller frames are enlarged without smoothing, as phones halve the colours and blur what is tiny."""


@dataclass(frozen=True)
class KeptClip:
    """One clip.

    files: source -> its video, relative to samples/; loudness: of its sound, root mean square of each frame's samples in
    [0, 1], empty without sound; mouth: source -> measured opening of each frame in percent of the picture, of drawn heads.
    """

    clip: str
    caption: str
    frames: int
    files: Mapping[str, str]
    loudness: tuple[float, ...] = ()
    mouth: Mapping[str, tuple[float, ...]] = field(default_factory=dict)


class KeptClips:
    """Writes the first `most` clips that it is shown into a folder as they come; `close` makes them count."""

    def __init__(self, folder: Path, most: int) -> None:
        self.folder, self.most = folder, most
        self.clips: list[KeptClip] = []

    def add(self, batch: Batch, videos: Mapping[str, Tensor]) -> None:
        """B clips; videos: source -> uint8 [B, F, 3, H, W]."""
        names = clip_names(batch)
        for row in range(len(batch)):
            if len(self.clips) < self.most and (batch.counted is None or batch.counted[row]):
                self.clips.append(self._written(names[row], batch.rows(slice(row, row + 1)), row, videos))

    def close(self) -> None:
        """Say what was written."""
        page = {"clips": [asdict(clip) for clip in self.clips]}
        write_atomically(self.folder / NAME, json.dumps(page, allow_nan=False))

    def _written(self, name: str, clip: Batch, row: int, videos: Mapping[str, Tensor]) -> KeptClip:
        sound = None if clip.waveform is None else _own_sound(clip.waveform[0])
        shown = {source: video[row].cpu() for source, video in videos.items()}
        files = {source: f"{source}/{len(self.clips):02d}.mp4" for source in shown}
        for source, video in shown.items():
            path = self.folder / files[source]
            path.parent.mkdir(parents=True, exist_ok=True)
            write_mp4(path, _pictures(video), sound)
        return KeptClip(
            clip=name,
            caption=clip.captions[0] if clip.captions else "",
            frames=len(next(iter(shown.values()))),
            files=files,
            loudness=() if sound is None else _loudness(sound),
            mouth={s: _rounded(opening(v)) for s, v in shown.items()} if has(clip, "truth.aperture") else {},
        )


def read(folder: Path) -> list[KeptClip]:
    """The clips in a folder, none where none were kept. Raises UsageError where what is said of them is damaged."""
    file = folder / NAME
    if not file.is_file():
        return []
    try:
        return [_parsed(clip) for clip in json.loads(file.read_text())["clips"]]
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        raise UsageError(f"{file} is damaged; `hallo3 test` of the run writes it again") from None


def _parsed(told: Mapping[str, Any]) -> KeptClip:
    mouth = {str(source): tuple(map(float, curve)) for source, curve in told["mouth"].items()}
    files = {str(source): str(file) for source, file in told["files"].items()}
    loudness = tuple(map(float, told["loudness"]))
    return KeptClip(str(told["clip"]), str(told["caption"]), int(told["frames"]), files, loudness, mouth)


def _pictures(video: Tensor) -> Iterator[np.ndarray]:
    """Frames [F, 3, H, W] as [H, W, 3], large enough and of even sizes."""
    height, width = video.shape[-2:]
    times = max(1, math.ceil(LEAST_SIDE / min(height, width)))
    times += times % 2 if height % 2 or width % 2 else 0
    for frame in video:
        yield repeat(frame, "c h w -> (h p) (w q) c", p=times, q=times).numpy()


def _own_sound(waveform: Tensor) -> np.ndarray:
    """The clip's samples [S] as int16, without those of its neighbours."""
    margin = audio_samples(AUDIO_CONTEXT_FRAMES)
    own = waveform[margin : waveform.shape[0] - margin].cpu().float().clamp(-1, 1)
    return (own * np.iinfo(np.int16).max).round().numpy().astype(np.int16)


def _loudness(sound: np.ndarray) -> tuple[float, ...]:
    frames = rearrange(sound.astype(np.float64) / np.iinfo(np.int16).max, "(f s) -> f s", s=SAMPLES_PER_FRAME)
    return _rounded(reduce(frames**2, "f s -> f", "mean") ** 0.5)


def _rounded(curve: Tensor | np.ndarray) -> tuple[float, ...]:
    return tuple(round(float(value), 4) for value in curve)
