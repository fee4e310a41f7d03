"""Strangers' bytes: what is no video, not whole, damaged or hostile is refused and named, and opens nothing else."""

import io
import socket
import struct
from collections import Counter
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest

from datamodules.bad_sample import BadSample
from datamodules.video.video_file import VideoFile
from tests.datamodules.numbered_videos import (
    COUNT,
    GOPS,
    MILLISECONDS,
    TIMES,
    Form,
    barcode,
    clicks,
    number_of,
    numbers,
    steady,
    video,
)


def reason_of(payload: bytes) -> str:
    file = VideoFile(payload, "a.tar", "k")
    with pytest.raises(BadSample, match=r"a\.tar: sample 'k': mp4 cannot be decoded: .+") as caught:
        _ = file.frames(), file.sound()
    assert (caught.value.shard, caught.value.key, caught.value.member) == ("a.tar", "k", "mp4")
    return caught.value.reason


@pytest.mark.parametrize("part", [0.2, 0.5, 0.8, 0.9])
@pytest.mark.parametrize("form", [Form(), Form(muxer={"moov_size": "8000"})], ids=["table last", "table first"])
def test_truncated_mp4_is_refused(form, part):
    whole = video(steady(COUNT), form)
    assert reason_of(whole[: int(len(whole) * part)]) in ("truncated", "no frames", "undecodable video")


@pytest.mark.parametrize("part", [0.2, 0.5])
def test_truncated_matroska_is_refused_by_the_length_it_says(part):
    whole = video(steady(2 * COUNT), Form("matroska"))
    assert reason_of(whole[: int(len(whole) * part)]) in ("truncated", "no frames")


@pytest.mark.parametrize("part", [0.2, 0.5, 0.9])
def test_truncated_avi_is_refused(part):
    whole = video(steady(COUNT), Form("avi", options=GOPS["no b-frames"], time_base=Fraction(1, 25)))
    assert reason_of(whole[: int(len(whole) * part)]) in ("truncated", "undecodable video")


@pytest.mark.parametrize("container", ["nut", "flv", "h264"])
def test_other_containers_are_refused(container):
    assert reason_of(video(steady(3), Form(container))) == "undecodable video"


def test_other_codecs_are_refused():
    """Of what a container may hold, only known decoders run: an old one is where the next hole is found."""
    payload = video(steady(3), Form("avi", "huffyuv", pixels="yuv422p", options={}, time_base=Fraction(1, 25)))
    assert reason_of(payload) == "unknown codec"


def test_what_is_no_video_is_refused():
    assert reason_of(b"not a video at all\n" * 100) == "undecodable video"
    assert reason_of(b"") == "undecodable video"
    assert reason_of(bytes(5000)) == "undecodable video"


def test_damage_is_an_error_and_hardly_ever_a_smear():
    """Single bits turned over: most cannot be decoded, some change nothing, and few are such that no decoder can tell."""
    whole = video(steady(COUNT), Form(options=GOPS["b-frames"]))
    good = VideoFile(whole).frames().astype(int)
    places = range(whole.index(b"mdat") + 704, whole.index(b"moov") - 4, 9)
    outcomes = Counter()
    for place in places:
        for bit in (2, 6):
            damaged = bytearray(whole)
            damaged[place] ^= 1 << bit
            try:
                off = np.abs(VideoFile(bytes(damaged)).frames() - good).max()
                outcomes["smeared" if off > 60 else "harmless"] += 1
            except BadSample as error:
                outcomes[error.reason] += 1
    assert outcomes["smeared"] <= 0.06 * outcomes.total()
    assert set(outcomes) <= {"smeared", "harmless", "undecodable video", "undecodable frame"}


@pytest.mark.parametrize("gop", ["no b-frames", "b-frames", "open"])
def test_decoding_begins_at_the_key_frame_before(gop):
    """What stands before it may be damaged: it is not decoded for a clip."""
    whole = video(steady(COUNT), Form(options=GOPS[gop]))
    frames = VideoFile(whole).frames(20, COUNT)
    with av.open(io.BytesIO(whole)) as opened:
        packets = [packet for packet in opened.demux(video=0) if packet.size]
        payload = bytes(packets[3])
    begin = whole.index(payload[-20:])
    damaged = whole[:begin] + bytes(20) + whole[begin + 20 :]
    assert reason_of(damaged) in ("undecodable video", "undecodable frame")
    np.testing.assert_array_equal(VideoFile(damaged).frames(20, COUNT), frames)


def test_sound_alone_or_with_a_cover_is_no_video():
    cover = io.BytesIO()
    with av.open(cover, "w", format="mp4") as container:
        picture = container.add_stream("mjpeg", rate=25)
        picture.width, picture.height, picture.pix_fmt = 48, 32, "yuvj420p"
        picture.disposition = av.stream.Disposition.attached_pic
        track = container.add_stream("aac", rate=16_000, layout="mono")
        container.mux(picture.encode(av.VideoFrame.from_ndarray(barcode(1), format="rgb24")))
        frame = av.AudioFrame.from_ndarray(clicks(TIMES), format="s16", layout="mono")
        frame.sample_rate = 16_000
        container.mux([*track.encode(frame), *track.encode()])
    assert reason_of(cover.getvalue()) == "no video"


def test_a_cover_beside_the_video_is_not_shown():
    target = io.BytesIO()
    with av.open(target, "w", format="mp4") as container:
        cover = container.add_stream("mjpeg", rate=25)
        cover.width, cover.height, cover.pix_fmt = 480, 320, "yuvj420p"
        cover.disposition = av.stream.Disposition.attached_pic
        stream = container.add_stream("libx264", rate=25)
        stream.width, stream.height, stream.pix_fmt = 48, 32, "yuv420p"
        container.mux(cover.encode(av.VideoFrame.from_ndarray(barcode(99, (480, 320)), format="rgb24")))
        for number in range(3):
            container.mux(stream.encode(av.VideoFrame.from_ndarray(barcode(number), format="rgb24")))
        container.mux(stream.encode())
    assert numbers(VideoFile(target.getvalue()).frames()) == [0, 1, 2]


def test_video_track_without_frames_is_refused():
    target = io.BytesIO()
    with av.open(target, "w", format="matroska") as container:
        stream = container.add_stream("mpeg4", rate=25)
        stream.width, stream.height, stream.pix_fmt = 48, 32, "yuv420p"
        container.start_encoding()
    assert reason_of(target.getvalue()) in ("no frames", "undecodable video")


def test_claimed_size_is_not_allocated():
    """A raw video whose header says 16383 x 16383, without the bytes for it."""
    target = io.BytesIO()
    with av.open(target, "w", format="matroska") as container:
        stream = container.add_stream("rawvideo", rate=25)
        stream.width, stream.height, stream.pix_fmt = 258, 259, "yuv420p"
        container.mux(stream.encode(av.VideoFrame(258, 259, "yuv420p")))
    payload = target.getvalue()
    assert payload.count(b"\xb0\x82\x01\x02") == payload.count(b"\xba\x82\x01\x03") == 1  # PixelWidth and PixelHeight
    huge = payload.replace(b"\xb0\x82\x01\x02", b"\xb0\x82\x3f\xff").replace(b"\xba\x82\x01\x03", b"\xba\x82\x3f\xff")
    assert reason_of(huge) == "wrong size"


def test_claimed_length_is_not_laid_out():
    assert reason_of(video([0, 100_000_000], Form("matroska", time_base=MILLISECONDS))) == "too long"


def test_changing_size_is_refused():
    """Two programmes in one stream, as broadcasts have them."""
    target = io.BytesIO()
    with av.open(target, "w", format="mpegts") as container:
        stream = container.add_stream("libx264", rate=25, options={"bf": "0"})
        stream.width, stream.height, stream.pix_fmt = 48, 32, "yuv420p"
        other = av.CodecContext.create("libx264", "w")
        other.width, other.height, other.pix_fmt, other.time_base = 64, 32, "yuv420p", Fraction(1, 25)
        other.options = {"bf": "0"}
        for encoder, size, begin in ((stream, (48, 32), 0), (other, (64, 32), 5)):
            for number in range(begin, begin + 5):
                frame = av.VideoFrame.from_ndarray(barcode(number, size), format="rgb24").reformat(format="yuv420p")
                frame.pts, frame.time_base = number, Fraction(1, 25)
                for packet in [*encoder.encode(frame), *(encoder.encode(None) if number == begin + 4 else [])]:
                    packet.stream = stream
                    container.mux(packet)
    assert reason_of(target.getvalue()) == "wrong size"


def test_no_other_file_and_no_address_is_opened(tmp_path, monkeypatch):
    other = tmp_path / "other.ts"
    other.write_bytes(video(steady(3), Form("mpegts")))
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(0.2)
        address = f"http://127.0.0.1:{server.getsockname()[1]}/x.ts"
        for target in (str(other), f"file:{other}", address):
            hls = f"#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1,\n{target}\n#EXT-X-ENDLIST\n"
            concat = f"ffconcat version 1.0\nfile '{target}'\n"
            dash = f'<?xml version="1.0"?><MPD xmlns="urn:mpeg:dash:schema:mpd:2011"><BaseURL>{target}</BaseURL></MPD>'
            for text in (hls, concat, dash):
                assert reason_of(text.encode()) == "undecodable video"
                playlist = tmp_path / "playlist.mp4"
                playlist.write_text(text)
                with pytest.raises(BadSample, match=r"playlist\.mp4: the video cannot be decoded"):
                    _ = VideoFile(playlist).facts
        with pytest.raises(TimeoutError):
            server.accept()


def referring(mp4: bytes, path: Path) -> bytes:
    """The mp4 with a data reference that says its frames lie in the file `path`, as QuickTime's aliases do."""
    name, whole = path.name.encode(), str(path).encode()
    alias = bytes(10 + 28 + 12) + bytes([len(name)]) + name.ljust(63, b"\0") + bytes(16)
    alias += struct.pack(">HH", 1, 1) + bytes(16)
    alias += struct.pack(">HH", 2, len(whole)) + whole + bytes(len(whole) % 2) + struct.pack(">HH", 0xFFFF, 0)
    entry = struct.pack(">I4sI", 12 + len(alias), b"alis", 0) + alias
    for box in (b"moov", b"trak", b"mdia", b"minf", b"dinf", b"dref"):
        at = mp4.index(box) - 4
        size = struct.unpack_from(">I", mp4, at)[0] + len(entry) - 12
        mp4 = mp4[:at] + struct.pack(">I", size) + mp4[at + 4 :]
    at = mp4.index(b"url \0\0\0\1") - 4
    return mp4[:at] + entry + mp4[at + 12 :]


def test_frames_that_lie_in_another_file_are_not_fetched(tmp_path):
    whole = video(steady(COUNT))
    (tmp_path / "secret.mp4").write_bytes(whole)
    begin, end = whole.index(b"mdat") + 4, whole.index(b"moov") - 4
    (tmp_path / "bait.mp4").write_bytes(
        referring(whole[:begin] + bytes(end - begin) + whole[end:], tmp_path / "secret.mp4")
    )
    with av.open(tmp_path / "bait.mp4", options={"enable_drefs": "1", "use_absolute_path": "1"}) as lured:
        shown = [number_of(frame.to_ndarray(format="rgb24")) for frame in lured.decode(video=0)]
    assert shown == list(range(COUNT)), "the bait itself must work"
    assert reason_of((tmp_path / "bait.mp4").read_bytes()) == "no frames"
    with pytest.raises(BadSample):
        VideoFile(tmp_path / "bait.mp4").frames()
