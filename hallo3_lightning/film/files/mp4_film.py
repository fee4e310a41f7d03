"""A film as an mp4 that grows by whole fragments, and is a plain mp4 once it is finished.

Every `write` appends one fragment (moof + mdat) with its frames and the sound that belongs to them, so the file plays at
any time. H.264 begins anew with every window: what is behind a window does not depend on how it was made, and a film
that was gone on with has the bytes of one that was not. The end copies all packets into a file with one table.
"""

import gc
import io
import os
import shutil
from collections.abc import Iterator, Mapping
from fractions import Fraction
from pathlib import Path
from typing import BinaryIO

import av
from av.container import InputContainer, OutputContainer
from einops import rearrange
from torch import Tensor

from datamodules.video.write_mp4 import KEY_FRAME_EVERY, frame_of, video_stream
from hallo3_lightning.film.files.film import BEGINNING, PARTIAL, Place, behind, beside, on_disk
from hallo3_lightning.film.files.mp4_boxes import END, boxes, empty
from hallo3_lightning.film.files.mp4_fragments import WholeFragments
from hallo3_lightning.film.files.sound_track import PACKET, SoundTrack, begin_s
from hallo3_lightning.geometry import FPS

CRF = 17
"""x264's constant quality: without loss that one sees."""

TICK = Fraction(1, 90_000)
"""Seconds that times of frames are counted in."""

ROOM = 1 << 16
"""Bytes that the table of a fragmented file takes beside its notes; it has none of the frames."""

FRAGMENTED = "empty_moov+default_base_moof+frag_custom+frag_discont"


class Mp4Film:
    """The frames as H.264 at 25 a second, and what `sound` heard as AAC.

    Args:
        path: the file; one that is there loses what lies behind `start`.
        size: height and width of frames, even.
        sound: what goes with the frames, from its beginning also where the film goes on.
        notes: metadata of the file.
        start: where to go on.
        growing: whether the finished film is left as fragments too: somebody may be watching it.
    """

    def __init__(
        self,
        path: Path,
        size: tuple[int, int],
        sound: SoundTrack | None,
        notes: Mapping[str, str],
        start: Place = BEGINNING,
        growing: bool = False,
    ) -> None:
        self.path, self.notes, self.growing = path, notes, growing
        file = path.open("r+b" if start.bytes else "wb")
        file.truncate(start.bytes)
        file.seek(start.bytes)
        self._growing = GrowingMp4(WholeFragments(file), size, sound, notes, start)

    @property
    def place(self) -> Place:
        return self._growing.place

    def write(self, frames: Tensor) -> None:
        self._growing.write(frames)

    def end_window(self) -> Place:
        place = self._growing.end_window()
        os.fsync(self._growing.file.fileno())
        return place

    def finish(self) -> None:
        """The file as others write it: its table in front, sound from zero on, its length known to every player."""
        if self.growing:
            self._growing.finish()
            os.fsync(self._growing.file.fileno())
            return
        self._growing.end_sound()
        aside = beside(self.path, PARTIAL)
        try:
            _settled(self.path, aside, self._growing.lead_s, self.notes)
        except OSError:
            aside.unlink(missing_ok=True)
            raise
        shutil.copymode(self.path, aside)
        on_disk(aside)
        aside.replace(self.path)
        on_disk(self.path.absolute().parent)

    def close(self) -> None:
        self._growing.file.close()


class GrowingMp4:
    """A fragmented mp4 in a file that is only appended to, such as standard output."""

    def __init__(
        self,
        file: BinaryIO | WholeFragments,
        size: tuple[int, int],
        sound: SoundTrack | None,
        notes: Mapping[str, str],
        start: Place = BEGINNING,
    ) -> None:
        self.file, self.size, self.sound, self.notes, self.place = file, size, sound, notes, start
        # AAC begins before zero and a fragment cannot: all of the film is later by as much
        self.lead_s = Fraction(0) if sound is None else Fraction(PACKET, sound.rate_hz)
        self._known = start.sounds
        self._encoder: _Encoder | None = None

    def write(self, frames: Tensor) -> None:
        """Append frames [f, 3, H, W] uint8 with their sound."""
        if self._encoder is None:
            self._encoder = _Encoder(self.size)
        stop = self.place.frames + len(frames)
        packets = self._encoder.encode(frames, self.place.frames)
        for packet in packets:
            _stamp(packet, begin_s(packet) + self.lead_s, TICK)
        self._append(packets, self._heard(Fraction(stop, FPS)), stop)

    def end_window(self) -> Place:
        """Give what was written to the system; the next frame can be decoded without those before."""
        self._encoder = None
        # containers and their streams hold each other; Python looks for such rings by their number and not by what FFmpeg
        # keeps behind them, which would be tens of megabytes
        gc.collect(1)
        self.file.flush()
        return self.place

    def finish(self) -> None:
        """Append what is left of the sound, and that this was all."""
        self.end_sound()
        self.file.write(empty(END))
        self.file.flush()

    def end_sound(self) -> None:
        """Append the sound that is left, as far as there is a picture: live speech may be ended while it is ahead."""
        if self.sound is not None:
            self.sound.cut(Fraction(self.place.frames, FPS))
        rest = self._heard(None)
        if rest:
            self._append([], rest, self.place.frames)
        self.file.flush()

    def _heard(self, until_s: Fraction | None) -> list[av.Packet]:
        """The packets of sound that end by then, all that are left for None; not those of an earlier making."""
        if self.sound is None:
            return []
        taken = list(self.sound.until(until_s))
        known, taken = taken[: self._known], taken[self._known :]
        self._known -= len(known)
        for packet in taken:
            _stamp(packet, begin_s(packet) + self.lead_s, Fraction(1, self.sound.rate_hz))
        return taken

    def _append(self, video: list[av.Packet], sound: list[av.Packet], frames: int) -> None:
        """One fragment, behind the file's own beginning if it is the first."""
        options = {
            "movflags": FRAGMENTED,
            "fragment_index": str(self.place.parts + 1),
            "use_editlist": "0",
            "avoid_negative_ts": "disabled",
            "fflags": "+bitexact",
        }
        buffer = _Unseekable()
        # FFmpeg goes back into what has not left its buffer for the sizes of boxes, and long notes must not leave it
        room = ROOM + 2 * sum(len(text.encode()) for text in self.notes.values())
        with av.open(buffer, "w", format="mp4", container_options=options, buffer_size=room) as container:
            self._mux(container, video, sound)
        wanted = ("moof", "mdat") if self.place.parts else ("ftyp", "moov", "moof", "mdat")
        data = buffer.getvalue()
        written = b"".join(data[box.begin : box.stop] for box in boxes(buffer) if box.name in wanted)
        self.file.write(written)
        self.file.flush()
        self.place = behind(self.place, written, frames - self.place.frames, len(sound))

    def _mux(self, container: OutputContainer, video: list[av.Packet], sound: list[av.Packet]) -> None:
        template = (self._encoder or _Encoder(self.size)).stream
        picture = container.add_stream_from_template(template)
        picture.time_base = TICK
        heard = None if self.sound is None else container.add_stream_from_template(self.sound.stream)
        container.metadata.update(self.notes)
        for stream, packets in ((picture, video), (heard, sound)):
            for packet in packets:
                packet.stream = stream
                container.mux(packet)


class _Encoder:
    """H.264 of one window: its first frame needs none before."""

    def __init__(self, size: tuple[int, int]) -> None:
        # nothing is written into this one: it lends its stream to those that the packets are written into
        self._nowhere = av.open(io.BytesIO(), "w", format="mp4")
        self.stream = video_stream(self._nowhere, (*size, 3), CRF, "yuv420p", KEY_FRAME_EVERY, at_once=True)
        self._nowhere.start_encoding()

    def encode(self, frames: Tensor, first: int) -> list[av.Packet]:
        """A packet for each of the frames, which count from `first`."""
        images = rearrange(frames, "f c h w -> f h w c").cpu().numpy()
        return [
            packet
            for i, image in enumerate(images, first)
            for packet in self.stream.encode(frame_of(image, i, self.stream))
        ]


class _Unseekable(io.BytesIO):
    def seekable(self) -> bool:
        return False


def _settled(growing: Path, out: Path, lead_s: Fraction, notes: Mapping[str, str]) -> None:
    """Copy the packets of a fragmented file into one with a table, `lead_s` earlier."""
    options = {"movflags": "faststart", "fflags": "+bitexact", "video_track_timescale": str(TICK.denominator)}
    limits = {"format_whitelist": "mov", "protocol_whitelist": "none"}
    with (
        growing.open("rb") as file,
        av.open(file, "r", format="mov", container_options=limits) as old,
        # FFmpeg opens it once more to put the table in front; without "file:" 12:30.mp4 would be of the protocol 12
        av.open(f"file:{out}", "w", format="mp4", container_options=options) as new,
    ):
        new.metadata.update(notes)
        streams = {stream.index: new.add_stream_from_template(stream) for stream in old.streams}
        for packet in _packets(old):
            _stamp(packet, begin_s(packet) - lead_s, packet.time_base)
            packet.stream = streams[packet.stream.index]
            new.mux(packet)


def _packets(container: InputContainer) -> Iterator[av.Packet]:
    return (packet for packet in container.demux() if packet.pts is not None)


def _stamp(packet: av.Packet, at_s: Fraction, tick: Fraction) -> None:
    """Frames come in the order shown, so that they are decoded when they are shown."""
    assert packet.duration is not None
    assert packet.time_base is not None
    lasts_s = packet.duration * packet.time_base
    packet.time_base = tick
    packet.pts = packet.dts = round(at_s / tick)
    packet.duration = round(lasts_s / tick)
