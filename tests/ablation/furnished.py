"""What a report shows of a run beside its scores: clips with sound, curves, rows with conditions, config, provenance."""

import json
from pathlib import Path

import torch
import yaml
from einops import rearrange

from hallo3_lightning.ablation.runs import RunFolder
from hallo3_lightning.batch import Batch
from hallo3_lightning.evaluation.rows_file import NAME, lines_of
from hallo3_lightning.geometry import AUDIO_CONTEXT_FRAMES, audio_samples
from hallo3_lightning.training.kept_clips import KeptClips

KEPT, FRAMES, HEIGHT, WIDTH = 3, 11, 20, 24
CAPTION = "A person talks."


def furnish(folder: RunFolder, shade: int = 0) -> None:
    """All but clips, of a run that tests/ablation/finished.py has finished."""
    log_curves(folder.path / "curves.csv", shade)
    write_rows(folder)
    config = {"seed_everything": shade, "phase": "audio", "model": {"audio": f"way-{shade}"}, "data": {}, "trainer": {}}
    config["data"] = {"shards": "data/heads", "batch_size": 16}
    folder.config_file.write_text(yaml.safe_dump(config))
    known = {"code": {"commit": "c0ffee", "diff": ""}, "versions": {"torch": "2.13"}, "data": {"fingerprint": "da7a"}}
    (folder.path / "provenance.json").write_text(json.dumps(known))


def keep_clips(
    folder: RunFolder, shade: int = 0, caption: str = CAPTION, frames: int = FRAMES, most: int = KEPT
) -> None:
    """A tone, and mouths that open and shut: those of the truth and, at other times, those of what was generated."""
    time = torch.arange(audio_samples(frames + 2 * AUDIO_CONTEXT_FRAMES)) / audio_samples(25)
    video = torch.full((KEPT, frames, 3, HEIGHT, WIDTH), 60 + 40 * shade, dtype=torch.uint8)
    for i in range(frames):
        video[:, i, :, 12 : 12 + i % 4, 8:16] = rearrange(torch.tensor([110, 20, 20], dtype=torch.uint8), "c -> c 1 1")
    video += rearrange(10 * torch.arange(KEPT, dtype=torch.uint8), "b -> b 1 1 1 1")
    batch = Batch(
        keys=tuple(f"clip-{i}" for i in range(KEPT)),
        captions=(caption,) * KEPT,
        video=video,
        waveform=(0.3 * torch.sin(2 * torch.pi * 220 * time)).expand(KEPT, -1),
        truth={"aperture": torch.zeros(KEPT, frames)},
    )
    keeper = KeptClips(folder.samples, most)
    keeper.add(batch, {"truth": video, "generated": video.roll(shade + 1, dims=1), "reconstruction": video})
    keeper.close()


def log_curves(file: Path, shade: int = 0) -> None:
    """A loss that falls, one validation metric that rises, and an alarm that rang and still rings where shade is odd."""
    lines = [f"{step},train/loss,{1 / (step + 1) + 0.01 * shade}" for step in range(0, 100, 10)]
    lines += [f"{step},val/psnr,{step / 10 + shade}" for step in (50, 100)]
    lines += [f"50,alarm/low_quality,{0.5}", f"100,alarm/low_quality,{0.7 if shade % 2 else -0.7}"]
    file.write_text("\n".join(["step,name,value", *lines, ""]))


def write_rows(folder: RunFolder) -> None:
    """The rows of its metrics.json; half of the clips look to the side, and all are equally long."""
    report = folder.metrics()
    assert report is not None
    clips = report["rows"]["generated"]["mouth_correlation"]
    yaw = {clip: 5.0 if i % 2 else 40.0 for i, clip in enumerate(clips)}
    conditions = {"yaw": yaw, "length": dict.fromkeys(clips, 1.0)}
    (folder.path / NAME).write_text("\n".join([*lines_of(report, conditions), ""]))
