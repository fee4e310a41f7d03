"""Frames as they come out of lossy codecs, for pipelines that write them to files between two steps."""

from collections.abc import Iterator
from fractions import Fraction
from typing import Literal

import av
import numpy as np
from av.video.codeccontext import VideoCodecContext
from av.video.reformatter import ColorRange

from hallo3_lightning.geometry import FPS

Coding = Literal["mpeg4", "mjpeg"]
PIXELS: dict[Coding, str] = {"mpeg4": "yuv420p", "mjpeg": "yuvj420p"}
RANGES: dict[Coding, ColorRange] = {"mpeg4": ColorRange.MPEG, "mjpeg": ColorRange.JPEG}

FINE = 2
"""The quantizer of what is called the best quality (ffmpeg -qscale:v 2)."""

DEFAULT_BITS = 200_000
"""A second, that ffmpeg gives a codec when told nothing."""


def coded(frames: np.ndarray, coding: Coding, quantizer: int | None = FINE) -> np.ndarray:
    """Frames [F, H, W, 3] uint8 RGB after one pass through a codec, the same shape; one thread, the same bits each time.

    quantizer: of all frames; None: as few bits as FFmpeg spends by itself (200 kbit/s).
    """
    encoder = _encoder(coding, frames.shape[1], frames.shape[2], quantizer)
    decoder = av.CodecContext.create(coding, "r")
    assert isinstance(decoder, VideoCodecContext)
    decoder.thread_count = 1
    shown = [picture for packet in _packets(encoder, frames, coding) for picture in decoder.decode(packet)]
    shown += decoder.decode(None)
    if len(shown) != len(frames):
        raise RuntimeError(f"{coding} made {len(shown)} frames of {len(frames)}")
    return np.stack([_rgb(picture, coding) for picture in shown])


def _encoder(coding: Coding, height: int, width: int, quantizer: int | None) -> VideoCodecContext:
    encoder = av.CodecContext.create(coding, "w")
    assert isinstance(encoder, VideoCodecContext)
    encoder.width, encoder.height, encoder.pix_fmt = width, height, PIXELS[coding]
    encoder.time_base, encoder.framerate = Fraction(1, FPS), Fraction(FPS)
    encoder.thread_count = 1
    encoder.flags |= av.codec.context.Flags.bitexact
    encoder.bit_rate = DEFAULT_BITS
    encoder.options = {} if quantizer is None else {"qmin": str(quantizer), "qmax": str(quantizer)}
    return encoder


def _packets(encoder: VideoCodecContext, frames: np.ndarray, coding: Coding) -> Iterator[av.Packet]:
    for number, image in enumerate(frames):
        picture = av.VideoFrame.from_ndarray(np.ascontiguousarray(image), format="rgb24")
        picture = picture.reformat(format=PIXELS[coding], dst_color_range=RANGES[coding], threads=1)
        picture.pts, picture.time_base = number, Fraction(1, FPS)
        yield from encoder.encode(picture)
    yield from encoder.encode(None)


def _rgb(picture: av.VideoFrame, coding: Coding) -> np.ndarray:
    return picture.reformat(format="rgb24", src_color_range=RANGES[coding], threads=1).to_ndarray()
