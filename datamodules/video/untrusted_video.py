"""Opening a stranger's video: a few containers and codecs, no file but the one given, and what its packets say.

The bytes reach FFmpeg through a file object, so nothing in them is ever taken for a path or an address.
"""

import errno
import io
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any, NoReturn

import av
from av.container import InputContainer

from datamodules.video.frame_grid import FrameGrid, Stamp, frame_grid
from datamodules.video.video_fault import VideoFault

CONTAINERS = "mov,mp4,m4a,3gp,3g2,mj2,matroska,webm,avi,mpegts"
"""FFmpeg's names. Playlists (hls, dash, concat) and image sequences are not among them: they open other files."""

CODECS = (
    *("h264", "hevc", "av1", "libdav1d", "vp8", "vp9", "libvpx", "libvpx-vp9", "mpeg4", "mpeg1video", "mpeg2video"),
    *("mjpeg", "prores", "ffv1", "rawvideo", "png", "aac", "mp3", "mp3float", "mp2", "mp2float", "ac3", "eac3", "opus"),
    *("libopus", "vorbis", "flac", "alac", "pcm_s16le", "pcm_s16be", "pcm_s24le", "pcm_s32le", "pcm_f32le", "pcm_u8"),
)
"""FFmpeg's names of the decoders that may run."""

MAX_PIXELS = 2**25
"""Of a frame, a little more than 8K: a header may claim any size."""

DECODING = {"max_pixels": str(MAX_PIXELS), "err_detect": "explode", "threads": "1"}
"""Options of every decoder: damage is an error, not a grey smear to learn from. The workers of a loader are as many as
there are cores, so each decodes in one thread."""

TRUNCATED_S = 0.5
"""A file that says it lasts that much longer than its packets do has lost its end."""


@dataclass(frozen=True)
class Contents:
    """A file's own account of itself, from its packets; nothing is decoded for it."""

    video: int
    """Number among the tracks of pictures."""
    sound: int | None
    """Number among the tracks of sound."""
    grid: FrameGrid
    is_dated: bool
    """Whether every frame has a time of its own. An avi's have not: they follow each other at a steady rate."""
    pixel_aspect: Fraction
    """Width of a pixel over its height, as stored."""


@contextmanager
def opened(source: bytes | Path) -> Iterator[InputContainer]:
    """The container, ready to be read. Raises VideoFault for what FFmpeg cannot read, within the block too."""
    if isinstance(source, Path) and not source.is_file():  # a pipe would be waited for, a device read without end
        raise VideoFault("not a regular file", "it is a link to nowhere, a pipe, a device or a folder, or is gone")
    try:
        with (
            io.BytesIO(source) if isinstance(source, bytes) else source.open("rb") as file,
            av.open(
                file,
                "r",
                container_options={
                    "format_whitelist": CONTAINERS,
                    "codec_whitelist": ",".join(CODECS),
                    "protocol_whitelist": "none",
                },
                options=DECODING,
                metadata_errors="replace",
                io_open=_refuse,
            ) as container,
        ):
            yield container
    except av.FFmpegError as error:
        raise VideoFault("undecodable video", f"FFmpeg says: {error.strerror}") from error
    except OSError as error:
        if error.errno != errno.EINVAL:  # anything else is the disk's fault, not the file's
            raise
        raise VideoFault("undecodable video", "it points to before its beginning") from error


def survey(source: bytes | Path) -> Contents:
    """Read every packet's header once. Raises VideoFault for a file that is cut short, or has no picture to show."""
    with opened(source) as container:
        video = _to_show(container)
        sound = next((stream for stream in container.streams.audio if _known(stream)), None)
        is_dated = container.format.name != "avi"
        packets = _read(container, [video] if sound is None else [video, sound], is_dated)
        if not packets.stamps or video.time_base is None:
            raise VideoFault("no frames", "its video track holds no frame")
        grid = frame_grid(packets.stamps, video.time_base)
        _refuse_truncated(container, video, packets)
        heard = container.streams.audio.index(sound) if sound is not None and packets.has_sound else None
        picture = container.streams.video.index(video)
        return Contents(picture, heard, grid, is_dated, video.sample_aspect_ratio or Fraction(1))


@dataclass(frozen=True)
class _Packets:
    stamps: Sequence[Stamp]
    has_sound: bool
    end_s: Fraction


def _refuse(url: str, flags: int, options: dict[str, Any]) -> NoReturn:
    raise VideoFault("undecodable video", "it asks for another file, which is never opened")


def _to_show(container: InputContainer) -> av.VideoStream:
    """The video track, which must not be a cover picture or of an impossible size."""
    attached = av.stream.Disposition.attached_pic
    streams = [stream for stream in container.streams.video if not stream.disposition & attached]
    if not streams:
        raise VideoFault("no video", "it has no video track")
    video = next((stream for stream in streams if stream is container.streams.best("video")), streams[0])
    if not _known(video):
        raise VideoFault("unknown codec", f"the codec of its video track is not one of: {', '.join(CODECS)}")
    if not 0 < video.width * video.height <= MAX_PIXELS:
        raise VideoFault("wrong size", f"it says its frames have {video.width} x {video.height} pixels")
    return video


def _known(stream: av.stream.Stream) -> bool:
    return stream.codec_context is not None and stream.codec_context.codec.name in CODECS


def _read(container: InputContainer, streams: Sequence[av.stream.Stream], is_dated: bool) -> _Packets:
    stamps: list[Stamp] = []
    has_sound, end_s = False, Fraction(0)
    for packet in container.demux(*streams):
        time = packet.pts if is_dated and packet.pts is not None else packet.dts
        if packet.size == 0 or time is None:  # the end of a track, or of no use
            continue
        if packet.is_corrupt:
            raise VideoFault("truncated", "it ends within a packet; copy it again")
        end_s = max(end_s, (time + (packet.duration or 0)) * packet.time_base)
        if packet.stream.type == "video":
            order = time if packet.dts is None else packet.dts
            stamps.append(Stamp(time, order, packet.duration or 0, packet.is_keyframe, packet.is_discard))
        else:
            has_sound = True
    return _Packets(stamps, has_sound, end_s)


def _refuse_truncated(container: InputContainer, video: av.VideoStream, packets: _Packets) -> None:
    """A file that was cut short still has a beginning; its table or its header knows of more."""
    said_s = (container.duration or 0) / av.time_base
    all_read = len(container.streams) == len(container.streams.video) + len(container.streams.audio)
    if len(packets.stamps) < len(video.index_entries) or (all_read and said_s - float(packets.end_s) > TRUNCATED_S):
        raise VideoFault("truncated", f"its frames end before the {said_s:.2f} s that it says it lasts; copy it again")
