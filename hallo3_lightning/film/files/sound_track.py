"""The sound of a film as compressed packets that wait for their frames."""

import io
from collections import deque
from collections.abc import Iterator
from fractions import Fraction

import av

from hallo3_lightning.film.files.by_hand import undisturbed

RATES_HZ = (96_000, 88_200, 64_000, 48_000, 44_100, 32_000, 24_000, 22_050, 16_000, 12_000, 11_025, 8_000)
"""Those that AAC knows, the highest first. Source: ISO/IEC 14496-3, table 1.18."""

PACKET = 1024
"""Samples of an AAC packet; the encoder begins that many before the first sample, so that its overlap can settle."""

BIT_RATE = 96_000
"""Of a channel."""


class SoundTrack:
    """AAC of all that was heard so far. It is a tenth of what the samples would be: an hour waits in 40 MB.

    The packets are the same however the sound comes in, and whoever reads it from the beginning gets them again.
    """

    def __init__(self, rate_hz: int, channels: int) -> None:
        self.rate_hz = min((rate for rate in RATES_HZ if rate >= rate_hz), default=RATES_HZ[0])
        self.layout = "mono" if channels == 1 else "stereo"
        self._waiting: deque[av.Packet] = deque()
        self._samples, self._is_ended = 0, False
        self._resampler: av.AudioResampler | None = None
        self._kind: tuple[int, str, str] | None = None
        # nothing is written into this one: it lends its stream to those that the packets are written into
        self._container = av.open(io.BytesIO(), "w", format="mp4")
        self.stream = self._container.add_stream("aac", rate=self.rate_hz, layout=self.layout)
        self.stream.codec_context.bit_rate = BIT_RATE * len(self.stream.codec_context.layout.channels)
        self._container.start_encoding()

    def hear(self, frame: av.AudioFrame) -> None:
        """Take the next samples in, at any rate and of any channels."""
        kind = frame.sample_rate, frame.layout.name, frame.format.name
        if kind != self._kind:
            self._flush()
            self._resampler, self._kind = av.AudioResampler("fltp", self.layout, self.rate_hz), kind
        assert self._resampler is not None
        with undisturbed():  # or the packets between encoder and queue are lost
            self._encode(self._resampler.resample(frame))

    def end(self) -> None:
        """Nothing more will be heard."""
        if not self._is_ended:
            self._flush()
            self._waiting.extend(self.stream.encode())
            self._is_ended = True

    def cut(self, time_s: Fraction) -> None:
        """Nothing more will be heard, and what was heard behind that time is forgotten."""
        self.end()
        while self._waiting and begin_s(self._waiting[-1]) >= time_s:
            self._waiting.pop()
        if self._waiting and end_s(self._waiting[-1]) > time_s:
            last = self._waiting[-1]
            assert last.time_base is not None
            last.duration = round((time_s - begin_s(last)) / last.time_base)

    def until(self, time_s: Fraction | None) -> Iterator[av.Packet]:
        """Take out the packets that end by that time; all for None."""
        while self._waiting and (time_s is None or end_s(self._waiting[0]) <= time_s):
            yield self._waiting.popleft()

    def _flush(self) -> None:
        if self._resampler is not None:
            self._encode(self._resampler.resample(None))
            self._resampler = None

    def _encode(self, frames: list[av.AudioFrame]) -> None:
        for frame in frames:
            frame.pts, frame.time_base = self._samples, Fraction(1, self.rate_hz)
            self._samples += frame.samples
            self._waiting.extend(self.stream.encode(frame))


def begin_s(packet: av.Packet) -> Fraction:
    """When a packet's frame or samples begin."""
    assert packet.pts is not None
    assert packet.time_base is not None
    return packet.pts * packet.time_base


def end_s(packet: av.Packet) -> Fraction:
    """When they end."""
    assert packet.duration is not None
    assert packet.time_base is not None
    return begin_s(packet) + packet.duration * packet.time_base
