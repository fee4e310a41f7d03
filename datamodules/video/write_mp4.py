"""Writing frames and sound as one mp4, the same bytes every time."""

import io
from collections.abc import Iterable, Iterator
from fractions import Fraction
from pathlib import Path
from typing import BinaryIO, Literal

import av
import numpy as np
from av.container import OutputContainer
from av.video.reformatter import ColorPrimaries, ColorRange, Colorspace, ColorTrc
from einops import rearrange

from hallo3_lightning.errors import UsageError
from hallo3_lightning.geometry import FPS, SAMPLE_RATE_HZ

KEY_FRAME_EVERY = 25
"""A clip begins anywhere: at most this many frames are decoded for nothing."""


def write_mp4(
    target: Path | BinaryIO,
    frames: Iterable[np.ndarray],
    waveform: np.ndarray | None = None,
    *,
    crf: float = 17,
    pixel_format: Literal["yuv420p", "yuv444p", "rgb24"] = "yuv420p",
    key_frame_every: int = KEY_FRAME_EVERY,
) -> None:
    """Write frames [H, W, 3] uint8 at 25 a second as H.264, and sound [S] int16 at 16 kHz, if given, as AAC.

    The bytes depend on the arguments and on FFmpeg's version alone: one thread, no dates, no names of encoders. A file
    appears under its name when it is whole. crf: x264's constant quality, 0 lossless of 8 bits, 17 without loss that one
    sees; pixel_format: yuv420p plays everywhere and needs even sizes, yuv444p keeps the colour of every pixel, rgb24
    exactly the numbers that were given, whatever crf says.
    """
    buffer = io.BytesIO()
    with av.open(buffer, "w", format="mp4", container_options={"fflags": "+bitexact"}) as container:
        iterator = iter(frames)
        first = next(iterator, None)
        if first is None:
            raise UsageError("a video needs at least one frame, none was given")
        video = video_stream(container, first.shape, crf, pixel_format, key_frame_every)
        audio = None if waveform is None else _audio_stream(container)
        for packet in _encoded_frames(video, _chained(first, iterator)):
            container.mux(packet)
        if audio is not None and waveform is not None:
            for packet in _encoded_sound(audio, waveform):
                container.mux(packet)
    if not isinstance(target, Path):
        target.write(buffer.getvalue())
        return
    partial = target.with_name(target.name + ".partial")
    partial.write_bytes(buffer.getvalue())
    partial.replace(target)


def video_stream(
    container: OutputContainer,
    shape: tuple[int, ...],
    crf: float,
    pixel_format: str,
    key_frame_every: int,
    at_once: bool = False,
) -> av.VideoStream:
    """A stream of H.264 for frames of a shape (H, W, 3), otherwise as `write_mp4`.

    at_once: a frame that goes in comes out, and none waits for those behind it.
    """
    height, width, _ = shape
    if pixel_format == "yuv420p" and (height % 2 or width % 2):
        raise UsageError(
            f"frames of {width} x {height} pixels cannot be written as yuv420p, which needs even sizes; "
            "resize them or write yuv444p"
        )
    # x264's shortcuts for the processor at hand depend on the memory they are given: the same frames gave other bytes
    exactly = f"threads=1:cpu-independent=1:keyint={key_frame_every}:open-gop=0"
    if at_once:
        exactly += ":bframes=0:rc-lookahead=0:sync-lookahead=0:force-cfr=1"
    exact = pixel_format == "rgb24"
    quality = {"qp": "0"} if exact else {"crf": str(crf)}
    options = {**quality, "preset": "medium", "x264-params": exactly}
    stream = container.add_stream("libx264rgb" if exact else "libx264", rate=FPS, options=options)
    stream.width, stream.height, stream.pix_fmt = width, height, pixel_format
    context = stream.codec_context
    context.thread_count = 1
    context.flags |= av.codec.context.Flags.bitexact
    if exact:
        return stream
    context.colorspace, context.color_range = Colorspace.ITU709, ColorRange.MPEG
    context.color_primaries, context.color_trc = ColorPrimaries.BT709, ColorTrc.BT709
    return stream


def _audio_stream(container: OutputContainer) -> av.AudioStream:
    stream = container.add_stream("aac", rate=SAMPLE_RATE_HZ, layout="mono")
    stream.codec_context.flags |= av.codec.context.Flags.bitexact
    stream.codec_context.bit_rate = 96_000
    return stream


def _chained(first: np.ndarray, rest: Iterator[np.ndarray]) -> Iterator[np.ndarray]:
    yield first
    yield from rest


def _encoded_frames(stream: av.VideoStream, frames: Iterable[np.ndarray]) -> Iterator[av.Packet]:
    for number, image in enumerate(frames):
        yield from stream.encode(frame_of(image, number, stream))
    yield from stream.encode()


def frame_of(image: np.ndarray, number: int, stream: av.VideoStream) -> av.VideoFrame:
    """Frame `number` of a stream of `video_stream`, from [H, W, 3] uint8."""
    frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(image), format="rgb24")
    frame = frame.reformat(
        format=stream.pix_fmt,
        src_color_range=ColorRange.JPEG,
        dst_colorspace=Colorspace.ITU709,
        dst_color_range=ColorRange.MPEG,
        threads=1,
    )
    frame.pts, frame.time_base = number, Fraction(1, FPS)
    return frame


def _encoded_sound(stream: av.AudioStream, waveform: np.ndarray) -> Iterator[av.Packet]:
    frame = av.AudioFrame.from_ndarray(rearrange(waveform, "samples -> 1 samples"), format="s16", layout="mono")
    frame.sample_rate, frame.pts, frame.time_base = SAMPLE_RATE_HZ, 0, Fraction(1, SAMPLE_RATE_HZ)
    yield from stream.encode(frame)
    yield from stream.encode()
