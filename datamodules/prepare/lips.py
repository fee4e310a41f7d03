"""Whether the lips of a take move with its sound."""

from collections.abc import Mapping

import numpy as np

from datamodules.prepare.face import Face
from datamodules.prepare.frames import Shown
from datamodules.prepare.settings import Settings
from datamodules.prepare.takes import Take
from datamodules.prepare.verdict import Dropped
from datamodules.video.video_file import VideoFile
from hallo3_lightning.backbones.face_track import every_frame
from hallo3_lightning.backbones.lip_sync import LipSync
from hallo3_lightning.geometry import audio_samples

LONGEST = 250
"""Frames, in the middle of a take, that are compared: ten seconds say as much as a minute."""


def check_lips(
    lip_sync: LipSync,
    video: VideoFile,
    take: Take,
    waveform: np.ndarray,
    faces: Mapping[int, list[Face]],
    settings: Settings,
) -> None:
    """Raise Dropped for a take whose sound comes too early or too late, or belongs to other lips.

    waveform [S] int16, of the take; faces: of the frames that were looked at, by their number in the video.
    """
    skipped = max(take.frames - LONGEST, 0) // 2
    heard = range(skipped, skipped + min(take.frames, LONGEST))
    shown = range(take.first + heard.start, take.first + heard.stop)
    boxes = every_frame({number: found[0].box for number, found in faces.items() if found}, shown)
    sound = waveform[audio_samples(heard.start) : audio_samples(heard.stop)]
    offset = lip_sync.offset(Shown(video, shown), sound, boxes)
    if abs(offset.frames) > settings.sync_offset or not offset.confidence >= settings.sync_confidence:
        raise Dropped("lip-sync offset", f"{offset.frames:+d} frames, confidence {offset.confidence:.2f}")
