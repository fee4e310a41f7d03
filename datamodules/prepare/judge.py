"""One video: its takes, what becomes of each, and the samples of those that are kept."""

import hashlib
import io
import os
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import PurePosixPath
from typing import Any

import numpy as np

from datamodules.bad_sample import BadSample
from datamodules.prepare.face import Face, FaceFinder
from datamodules.prepare.frames import in_turn
from datamodules.prepare.framing import Framing, framing
from datamodules.prepare.lips import check_lips
from datamodules.prepare.settings import Settings
from datamodules.prepare.sound import loudness_dbfs, read_vocals
from datamodules.prepare.sources import Source
from datamodules.prepare.survey import Survey, check_faces, embedding_of, faces_of, survey, union
from datamodules.prepare.takes import Take, takes
from datamodules.prepare.verdict import KEPT, Dropped, Verdict
from datamodules.shards import Sample
from datamodules.video.video_file import Mp4, VideoFile, write_mp4
from hallo3_lightning.backbones.lip_sync import LipSync
from hallo3_lightning.geometry import FPS, audio_samples

LONGEST_NAME = 40
"""Letters of a video's name in a key."""

Judged = tuple[Verdict, Sample | None]


@dataclass(frozen=True)
class Video:
    """A source that has been opened."""

    source: Source
    file: VideoFile
    framing: Framing
    sound: np.ndarray
    """[S] int16, as long as the video."""
    caption: str


@dataclass(frozen=True)
class Judge:
    """Settings, and who looks at faces and lips; travels to worker processes."""

    settings: Settings
    finder: FaceFinder | None = None
    lip_sync: LipSync | None = None
    """Needs a finder."""

    def known(self, source: Source) -> Source:
        """A video with what is told of its faces: to be done again when that changes."""
        return source if self.finder is None else replace(source, faces=self.finder.told_of(source.name))

    def judge(self, source: Source) -> Iterator[Judged]:
        """A verdict for each take, in order, with its sample where it is kept; or one verdict for the whole video."""
        try:
            video = self._open(source)
            seen = survey(video.file, source.name, self.settings, self.finder)
        except BadSample as error:
            yield dropped(source, _undecodable(error)), None
            return
        except Dropped as why:
            yield dropped(source, why), None
            return
        borders = seen.cuts if self.settings.cuts == "split" else ()
        for take in takes(video.file.facts.frames, borders, self.settings.take_frames):
            yield self._take(video, take, seen)

    def _open(self, source: Source) -> Video:
        """Raises Dropped or BadSample for a video that no take can be made of."""
        if not source.path.is_file():
            raise Dropped("missing")
        file = VideoFile(source.path)
        facts, settings = file.facts, self.settings
        if settings.need_caption and not source.caption:
            raise Dropped("no caption")
        how = framing((facts.height, facts.width), (settings.height, settings.width), settings.fit, facts.pixel_aspect)
        if how.enlargement > settings.enlarge_limit:
            raise Dropped("too small", f"{facts.height}x{facts.width} enlarged {how.enlargement:.2f} times")
        if facts.frames < settings.min_frames:
            raise Dropped("too short", f"{facts.frames} frames")
        return Video(source, file, how, _sound(source, file), source.caption or "")

    def _take(self, video: Video, take: Take, seen: Survey) -> Judged:
        try:
            sample = self._sample(video, take, seen)
        except Dropped as why:
            return dropped(video.source, why, take), None
        except BadSample as error:
            return dropped(video.source, _undecodable(error), take), None
        return verdict(video.source, KEPT, "", take), sample

    def _sample(self, video: Video, take: Take, seen: Survey) -> Sample:
        """Raises Dropped for the first thing that is wrong; what is costly to look at comes last."""
        if take.frames < self.settings.min_frames:
            raise Dropped("too short", f"{take.frames} frames")
        if any(take.first < cut < take.last for cut in seen.cuts):
            raise Dropped("scene cut", f"at frame {next(cut for cut in seen.cuts if cut > take.first)}")
        waveform = video.sound[audio_samples(take.first) : audio_samples(take.last)]
        loudness = loudness_dbfs(waveform)
        if loudness < self.settings.silent_dbfs:
            raise Dropped("silent", f"{loudness:.0f} dBFS")
        faces = faces_of(take, seen)
        if self.finder is not None:
            check_faces(faces, self.settings)
        if self.lip_sync is not None:
            check_lips(self.lip_sync, video.file, take, waveform, faces, self.settings)
        return Sample(
            key=key_of(video.source.name, take.number),
            facts=self._facts(video, take, faces),
            video=self._drawn(video, take),
            waveform=waveform,
            caption=video.caption,
            face_embedding=self._identity(video, faces),
        )

    def _identity(self, video: Video, faces: Mapping[int, list[Face]]) -> np.ndarray | None:
        """[E] float32. Raises Dropped where it is not known but others are: a batch has all of them or none."""
        if self.finder is None:
            return None
        embedding = embedding_of(video.file, video.source.name, faces, self.finder)
        if embedding is None and self.finder.knows_identities:
            raise Dropped("no identity")
        return embedding

    def _drawn(self, video: Video, take: Take) -> Mp4:
        file = io.BytesIO()
        frames = (video.framing.draw(frame) for frame in in_turn(video.file, take.first, take.last))
        write_mp4(file, frames, crf=self.settings.crf)
        return Mp4(file.getvalue())

    def _facts(self, video: Video, take: Take, faces: Mapping[int, list[Face]]) -> dict[str, Any]:
        return {
            "frames": take.frames,
            "fps": FPS,
            "height": self.settings.height,
            "width": self.settings.width,
            "face_box": self._face_box(video, faces),
            "identity": video.source.identity,
            "split": "",  # known when all videos are
            "video": video.source.name,
            "first_frame": take.first,
        }

    def _face_box(self, video: Video, faces: Mapping[int, list[Face]]) -> list[int] | None:
        if self.finder is None:
            return None
        box = video.framing.box(union(faces))
        if box is None:
            raise Dropped("no face", "what the picture is cut to shows none")
        return box


def _sound(source: Source, file: VideoFile) -> np.ndarray:
    """[S] int16, as long as the video."""
    if source.vocals is not None:
        return read_vocals(source.vocals, audio_samples(file.facts.frames))
    sound = file.sound()
    if sound is None:
        raise Dropped("no audio")
    return sound


def _undecodable(error: BadSample) -> Dropped:
    """With what the decoder said, which does not name the place, so that verdicts are the same in every folder."""
    return Dropped("undecodable", str(error.__cause__ or error.reason))


def dropped(source: Source, why: Dropped, take: Take | None = None) -> Verdict:
    """The verdict on a take, or on a whole video, that is dropped."""
    return verdict(source, why.reason, why.detail, take)


def verdict(source: Source, said: str, detail: str, take: Take | None) -> Verdict:
    """The verdict on a take, or on a whole video where there is none."""
    if take is None:
        return Verdict(source.name, said, detail, identity=source.identity)
    key = key_of(source.name, take.number)
    return Verdict(source.name, said, detail, key, take.first, take.frames, source.identity)


def key_of(video: str, take: int) -> str:
    """The key of a take: letters of the video's name, a hash of its whole path, and the number of the take.

    A pure function of the path, so that a key stays when other videos come; without the dots and slashes that mean
    something in a shard.
    """
    plain = re.sub(r"[^A-Za-z0-9_-]+", "_", PurePosixPath(video).stem)[:LONGEST_NAME]
    digest = hashlib.blake2b(os.fsencode(video), digest_size=4).hexdigest()
    return f"{plain}-{digest}-{take:04d}"
