"""A video file of any form as frames at 25 a second and sound at 16 kHz."""

import itertools
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import av
import numpy as np
from av.container import InputContainer

from datamodules.bad_sample import BadSample
from datamodules.video.frame_grid import Stamp
from datamodules.video.frame_pixels import Turn, rgb, turn_of
from datamodules.video.sound_track import aligned
from datamodules.video.untrusted_video import DECODING, Contents, opened, survey
from datamodules.video.video_fault import VideoFault
from datamodules.video.write_mp4 import write_mp4 as write_mp4
from hallo3_lightning.geometry import audio_samples


@dataclass(frozen=True)
class VideoFacts:
    """What a video is."""

    frames: int
    """F at 25 a second."""
    height: int
    """After rotation."""
    width: int
    """After rotation."""
    fps: float
    """Of the file, on average."""
    has_sound: bool
    duration_s: float
    pixel_aspect: float
    """Width of a pixel over its height, after rotation. Frames are not stretched by it."""


class VideoFile:
    """A video in one of `untrusted_video.CONTAINERS`.

    Output frame k is the frame that the file shows around k/25 s after its first one (`frame_grid` has the rule).
    Frames keep the file's size; quarter turns and mirrors of its display matrix are applied. Interlaced material is not
    taken apart, high dynamic range not mapped. Raises BadSample for a file that cannot be read as a whole.
    """

    def __init__(self, source: bytes | Path, shard: str = "", key: str = "") -> None:
        """
        Args:
            source: The file's bytes, or where it lies.
            shard: Where the bytes come from, for the error messages.
            key: Name of the sample, for the error messages; the file's name by default.
        """
        self.source = source
        self.shard = shard
        self.key = key or (source.stem if isinstance(source, Path) else "")

    @cached_property
    def facts(self) -> VideoFacts:
        """Reads the headers of all packets and decodes one frame."""
        with self._named():
            contents, turn, first = self._contents, self._turn, self._first
        grid, aspect = contents.grid, contents.pixel_aspect
        return VideoFacts(
            frames=len(grid.shown),
            height=first.width if turn.swapped else first.height,
            width=first.height if turn.swapped else first.width,
            fps=float(len(grid.times) / grid.duration_s),
            has_sound=contents.sound is not None,
            duration_s=float(grid.duration_s),
            pixel_aspect=float(1 / aspect if turn.swapped else aspect),
        )

    def frames(self, first: int = 0, stop: int | None = None) -> np.ndarray:
        """uint8 [stop - first, H, W, 3] at 25 a second: the same numbers as that slice of the whole video.

        Decoding begins at the key frame before `first` and ends with the last frame asked for.
        """
        facts = self.facts
        stop = facts.frames if stop is None else stop
        if not 0 <= first <= stop <= facts.frames:
            raise IndexError(f"frames {first} to {stop} of a video of {facts.frames}")
        wanted = np.empty((stop - first, facts.height, facts.width, 3), np.uint8)
        for number, image in enumerate(self.in_turn(first, stop)):
            wanted[number] = image
        return wanted

    def in_turn(self, first: int, stop: int) -> Iterator[np.ndarray]:
        """The same frames one by one, uint8 [H, W, 3], each to be read only: a long video in little memory."""
        done = 0
        with self._named():
            times = self._contents.grid.shown[first:stop]
            starts = self._contents.grid.starts(int(times[0])) if len(times) else ()
            for start in starts:
                try:
                    for image in itertools.islice(self._shown(times, start), done, None):
                        done += 1
                        yield image
                    return
                except VideoFault:
                    if start is starts[-1]:
                        raise

    def sound(self) -> np.ndarray | None:
        """int16 [F * 640], 16 kHz mono, in step with the first frame; None without a sound track.

        Silence where the track does not reach, cut where it goes on.
        """
        with self._named():
            contents = self._contents
            if contents.sound is None:
                return None
            with opened(self.source) as container:
                sound = container.decode(audio=contents.sound)
                return aligned(sound, contents.grid.start_s, audio_samples(len(contents.grid.shown)))

    @cached_property
    def _contents(self) -> Contents:
        return survey(self.source)

    @cached_property
    def _first(self) -> av.VideoFrame:
        """The first frame, as decoded: the others must have its size and are turned like it."""
        grid = self._contents.grid
        for frame in self._decoded(grid.starts(int(grid.shown[0]))[0]):
            return frame
        raise VideoFault("undecodable frame", "not one frame of it can be decoded")

    @cached_property
    def _turn(self) -> Turn:
        return turn_of(self._first)

    def _shown(self, times: np.ndarray, start: Stamp) -> Iterator[np.ndarray]:
        """The frame last shown at each time, decoding from `start` on.

        A packet that shows nothing (a hidden frame of VP8) leaves the one before it in its place.
        """
        done, last = 0, None
        for frame in itertools.chain(self._decoded(start), [None]):
            ready = len(times) if frame is None else int(np.searchsorted(times, frame.pts or 0))
            if ready < done:
                raise VideoFault("undecodable frame", "its frames do not come in the order of their times")
            if ready > done:
                if last is None:
                    raise VideoFault("undecodable frame", "a frame cannot be decoded, nor any before it")
                yield from itertools.repeat(self._turn(self._pixels(last)), ready - done)
            if ready == len(times):
                return
            done, last = ready, frame

    def _decoded(self, start: Stamp) -> Iterator[av.VideoFrame]:
        """Frames in the order shown, from a key frame on: by seeking, or by reading up to it where that fails."""
        if not self._contents.is_dated:
            yield from self._counted()
            return
        at_the_beginning = start == self._contents.grid.keys[0]
        for seeking in (False,) if at_the_beginning else (True, False):
            with opened(self.source) as container:
                stream = container.streams.video[self._contents.video]
                stream.codec_context.options = DECODING
                packets = _packets_from(container, stream, start, seeking)
                if packets is not None:
                    for packet in packets:
                        yield from (frame for frame in _decoded(packet, start) if frame.pts is not None)
                    return

    def _counted(self) -> Iterator[av.VideoFrame]:
        """Frames in the order shown of a track that does not date them: from the first on, each with the next time."""
        with opened(self.source) as container:
            stream = container.streams.video[self._contents.video]
            stream.codec_context.options = DECODING
            frames = container.decode(stream)
            for time, frame in zip(self._contents.grid.times, frames, strict=False):
                frame.pts = time
                yield frame

    def _pixels(self, frame: av.VideoFrame) -> np.ndarray:
        if (frame.width, frame.height) != (self._first.width, self._first.height):
            change = f"from {self._first.width} x {self._first.height} to {frame.width} x {frame.height}"
            raise VideoFault("wrong size", f"its size changes on the way, {change}")
        if frame.is_corrupt:
            raise VideoFault("undecodable frame", f"the frame at {frame.time:.2f} s is damaged")
        return rgb(frame)

    @contextmanager
    def _named(self) -> Iterator[None]:
        """Faults become BadSample, with the place."""
        try:
            yield
        except VideoFault as fault:
            place = str(self.source) if isinstance(self.source, Path) else f"{self.shard}: sample '{self.key}'"
            member = "" if isinstance(self.source, Path) else "mp4"
            message = f"{place}: {member or 'the video'} cannot be decoded: {fault}"
            raise BadSample(message, shard=self.shard, key=self.key, member=member, reason=fault.reason) from fault


def _decoded(packet: av.Packet, start: Stamp) -> list[av.VideoFrame]:
    """The frames that the packet completes. Those shown before the start lean on frames before it: they may fail."""
    try:
        return packet.decode()
    except av.InvalidDataError:
        if packet.pts is not None and packet.pts < start.time:
            return []
        raise


def _packets_from(
    container: InputContainer, stream: av.VideoStream, start: Stamp, seeking: bool
) -> Iterator[av.Packet] | None:
    """The track's packets from that key frame on; None if seeking landed behind it, which some containers do."""
    if seeking:
        try:
            container.seek(start.decoded_at, stream=stream)
        except av.FFmpegError:  # no table to seek by
            return None
    packets = container.demux(stream)
    for packet in packets:
        order = packet.pts if packet.dts is None else packet.dts
        if order == start.decoded_at and packet.is_keyframe:
            return itertools.chain([packet], packets)
        if seeking and order is not None and order > start.decoded_at:
            return None
    return None


class Mp4:
    """The video of a sample, kept as the bytes of its file: frames are decoded when they are asked for."""

    def __init__(self, payload: bytes, shard: str = "", key: str = "") -> None:
        self.payload = payload
        self.file = VideoFile(payload, shard, key)

    @property
    def shape(self) -> tuple[int, ...]:
        """(F, H, W, 3)."""
        return self.file.facts.frames, self.file.facts.height, self.file.facts.width, 3

    @property
    def dtype(self) -> np.dtype:
        return np.dtype(np.uint8)

    def __len__(self) -> int:
        return self.file.facts.frames

    def __getitem__(self, frames: int | slice) -> np.ndarray:
        """Frame [H, W, 3] of a number, or frames [n, H, W, 3] of a slice, as of an array."""
        if not isinstance(frames, slice):
            number = range(len(self))[frames]
            return self.file.frames(number, number + 1)[0]
        chosen = range(*frames.indices(len(self)))
        if len(chosen) == 0:
            return self.file.frames(0, 0)
        first = min(chosen[0], chosen[-1])
        return self.file.frames(first, max(chosen) + 1)[np.asarray(chosen) - first]
