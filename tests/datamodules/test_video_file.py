"""Videos in every awkward form: the frames and the sound that come out are those that went in."""

import io
import socket
import struct
from collections import Counter
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from datamodules.bad_sample import BadSample
from datamodules.frame_grid import Stamp, frame_grid
from datamodules.video_file import Mp4, VideoFile, write_mp4
from hallo3_lightning.errors import UsageError
from hallo3_lightning.geometry import SAMPLE_RATE_HZ, SAMPLES_PER_FRAME
from tests.datamodules.numbered_videos import MILLISECONDS, Form, Sound, barcode, number_of, steady, video

NTSC = Fraction(30_000, 1001)
HALF = Fraction(1, 50)
COUNT = 30
IRREGULAR = [Fraction(t, 1000) for t in np.cumsum([0, *np.random.default_rng(1).integers(1, 120, COUNT - 1)]).tolist()]


def numbers(frames: np.ndarray) -> list[int]:
    return [number_of(frame) for frame in frames]


def x264(parameters: str) -> dict[str, str]:
    return {"x264-params": f"{parameters}:keyint=8:scenecut=0"}


GOPS = {
    "no b-frames": {"g": "8", "bf": "0"},
    "b-frames": {"g": "8", "bf": "3"},
    "open": x264("open-gop=1:bframes=3:b-adapt=0"),
    "intra refresh": x264("intra-refresh=1:bframes=0"),
    "one key frame": {"g": "1000", "bf": "2"},
}
CONTAINERS = ("mp4", "matroska", "mpegts", "avi")
FORMS = {f"{name} in {container}": Form(container, options=gop, time_base=Fraction(1, 25) if container == "avi" else
                                        Fraction(1, 90_000))
         for container in CONTAINERS for name, gop in GOPS.items()} | {
    "fragments": Form(muxer={"movflags": "frag_keyframe+empty_moov"}),
    "table first": Form(muxer={"moov_size": "8000"}),
    "unknown length": Form("matroska", seekable=False),
    "hidden frames": Form("webm", "libvpx", options={"g": "10", "lag-in-frames": "10", "auto-alt-ref": "1", "cpu-used": "8"}),
    "vp9": Form("webm", "libvpx-vp9", options={"g": "10", "lag-in-frames": "10", "cpu-used": "8"}),
    "odd sizes": Form("webm", "libvpx-vp9", size=(49, 33), options={"g": "10", "cpu-used": "8"}),
    "odd sizes, full colour": Form(pixels="yuv444p", size=(51, 35)),
    "ten bits": Form(pixels="yuv420p10le"),
    "grey": Form(pixels="gray"),
    "motion jpeg": Form("mov", "mjpeg", pixels="yuvj420p", options={}),
    "mpeg2": Form("mpegts", "mpeg2video", options={"bf": "2", "g": "10", "qscale": "2"}, time_base=Fraction(1, 25)),
}  # fmt: skip


@pytest.mark.parametrize("name", FORMS)
def test_any_slice_is_that_of_the_whole(name):
    file = VideoFile(video(steady(COUNT), FORMS[name]))
    whole = file.frames()
    assert numbers(whole) == list(range(COUNT))
    width, height = FORMS[name].size
    assert (file.facts.frames, file.facts.height, file.facts.width) == (COUNT, height, width)
    for first in range(0, COUNT, 3):
        for stop in (first + 1, min(first + 5, COUNT), COUNT):
            np.testing.assert_array_equal(file.frames(first, stop), whole[first:stop])


@pytest.mark.parametrize("container", CONTAINERS[:3])
@pytest.mark.parametrize(
    ("fps", "shown"),
    [
        (24, [*range(13), 12, *range(13, 29)]),
        (25, list(range(30))),
        (30, [0, 1, 2, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15]),
        (50, list(range(0, 30, 2))),
        (NTSC, None),
        (Fraction(25, 2), None),
    ],
)
def test_other_rates_are_within_half_a_frame(container, fps, shown):
    rate = Fraction(fps)
    file = VideoFile(video(steady(COUNT, fps), Form(container, rate=rate)))
    seen = numbers(file.frames())
    assert len(seen) == file.facts.frames
    assert abs(len(seen) - COUNT / rate * 25) <= 0.5
    rounding = MILLISECONDS  # of the container's stamps
    for k, number in enumerate(seen):
        assert number / rate < Fraction(k, 25) + HALF + rounding, "shown early"
        assert number == COUNT - 1 or (number + 1) / rate >= Fraction(k, 25) + HALF - rounding, "shown too long"
    assert file.facts.fps == pytest.approx(float(fps), rel=2e-3)


@pytest.mark.parametrize("container", CONTAINERS[:3])
def test_variable_rate_shows_what_is_on_screen(container):
    file = VideoFile(video(IRREGULAR, Form(container, time_base=MILLISECONDS)))
    seen = numbers(file.frames())
    on_screen = [sum(time < Fraction(k, 25) + HALF for time in IRREGULAR) - 1 for k in range(len(seen))]
    assert seen == on_screen


@given(st.lists(st.integers(1, 600), min_size=1, max_size=40), st.integers(1, 7), st.integers(8, 90_000), st.integers())
def test_grid_is_exact_in_any_time_base(gaps_ms, numerator, denominator, begin):
    base = Fraction(numerator, denominator)
    gaps = [max(1, gap_ms * denominator // (1000 * numerator)) for gap_ms in gaps_ms]
    times = [begin % 10**12 + t for t in np.cumsum([0, *gaps[:-1]]).tolist()]
    grid = frame_grid([Stamp(time, time, gap, True, False) for time, gap in zip(times, gaps, strict=True)], base)
    for k, shown in enumerate(grid.shown.tolist()):
        assert shown == max([t for t in times if (t - times[0]) * base < Fraction(k, 25) + HALF])
    length_s = sum(gaps) * base
    assert len(grid.shown) == max(1, sum(Fraction(k, 25) + HALF < length_s for k in range(len(grid.shown) + 2)))


@pytest.mark.parametrize("container", ["matroska", "mpegts"])
def test_a_late_start_is_no_silence(container):
    late = Sound(clicks([0.4]), start_s=Fraction(7))
    file = VideoFile(video(steady(COUNT, start_s=7), Form(container), late))
    assert numbers(file.frames()) == list(range(COUNT))
    assert loud(file.sound()) == pytest.approx([0.4], abs=0.01)


def with_edit(mp4: bytes, frames: int, cut: int) -> bytes:
    """The mp4 with its edit list begun that many frames later and lasting for `frames` frames."""
    at = mp4.index(b"elst") + 4
    version, entries, length_ms, begin = struct.unpack_from(">IIii", mp4, at)
    assert (version, entries) == (0, 1)
    edited = struct.pack(">IIii", 0, 1, frames * 40, begin + cut * 3600)
    return mp4[:at] + edited + mp4[at + len(edited) :]


@pytest.mark.parametrize("cut", [0, 3, 8, 11])
def test_edit_lists_say_what_is_shown(cut):
    mp4 = with_edit(video(steady(COUNT), Form(options=GOPS["b-frames"])), frames=12, cut=cut)
    file = VideoFile(mp4)
    whole = file.frames()
    assert numbers(whole)[:12] == list(range(cut, cut + 12))
    assert len(whole) in (12, 13)  # FFmpeg keeps the frame that the end falls on
    for first in range(len(whole)):
        np.testing.assert_array_equal(file.frames(first, first + 1)[0], whole[first])


def test_a_beginning_that_leans_on_lost_frames_is_left_out():
    """Cut at an open group's key frame, as broadcast recordings are: the frames before it in time cannot be decoded."""
    source, target = io.BytesIO(video(steady(COUNT), Form("mpegts", options=GOPS["open"]))), io.BytesIO()
    with av.open(source) as whole, av.open(target, "w", format="mpegts") as cut:
        stream = cut.add_stream_from_template(whole.streams.video[0])
        keys = 0
        for packet in whole.demux(video=0):
            keys += packet.is_keyframe
            if keys >= 2 and packet.size:
                packet.stream = stream
                cut.mux(packet)
    seen = numbers(VideoFile(target.getvalue()).frames())
    assert seen == list(range(seen[0], COUNT))
    assert seen[0] >= 7


@pytest.mark.parametrize("mirrored", [(False, False), (True, False), (False, True)])
@pytest.mark.parametrize("degrees", [0, 90, 180, 270])
def test_display_matrix_is_applied(degrees, mirrored):
    """Turned counter-clockwise, then mirrored: what the matrix of ISO/IEC 14496-12 says for these numbers."""
    stored = Form(rotation=(degrees, *mirrored), pixels="yuv444p", options={"crf": "0"})
    plain = VideoFile(video(steady(6), Form(pixels="yuv444p", options={"crf": "0"}))).frames()[5]
    assert number_of(plain) == 5
    turned = np.rot90(plain, degrees // 90)
    expected = turned[:: -1 if mirrored[1] else 1, :: -1 if mirrored[0] else 1]
    file = VideoFile(video(steady(6), stored))
    assert (file.facts.width, file.facts.height) == ((48, 32) if degrees % 180 == 0 else (32, 48))
    np.testing.assert_array_equal(file.frames()[5], expected)


@pytest.mark.parametrize("pixels", ["yuv444p", "yuv420p"])
def test_colours_come_back(pixels):
    """Red, green, blue and white patches, by both colour matrices' names and by neither."""
    patches = np.zeros((32, 48, 3), np.uint8)
    for i, colour in enumerate([(200, 30, 30), (30, 200, 30), (30, 30, 200), (255, 255, 255)]):
        patches[:, 12 * i : 12 * (i + 1)] = colour
    written = io.BytesIO()
    write_mp4(written, [patches], pixel_format=pixels, crf=4)
    seen = VideoFile(written.getvalue()).frames()[0].astype(int)
    inner = np.concatenate([np.arange(12 * i + 3, 12 * i + 9) for i in range(4)])
    assert np.abs(seen - patches)[:, inner].max() <= 6


# -- sound -------------------------------------------------------------------------------------------------------


def clicks(seconds: list[float], rate_hz: int = SAMPLE_RATE_HZ, length_s: float = COUNT / 25) -> np.ndarray:
    """[1, S]: 10 ms of a loud 1 kHz tone from each of these times on, silence else."""
    time = np.arange(round(length_s * rate_hz)) / rate_hz
    inside = np.any([(time >= s) & (time < s + 0.01) for s in seconds], axis=0)
    return (20_000 * np.sin(2 * np.pi * 1000 * time) * inside).astype(np.int16)[None]


def loud(sound: np.ndarray) -> list[float]:
    """Seconds at which sound begins after silence."""
    above = np.flatnonzero(np.abs(sound.astype(int)) > 4000)
    begins = above[np.diff(above, prepend=-(10**6)) > SAMPLE_RATE_HZ // 20]
    return (begins / SAMPLE_RATE_HZ).tolist()


TIMES = [0.2, 0.52, 0.96]
"""Seconds of clicks."""


@pytest.mark.parametrize("container", ["mp4", "matroska", "mpegts", "avi"])
@pytest.mark.parametrize("rate_hz", [16_000, 44_100, 48_000])
@pytest.mark.parametrize("channels", [1, 2])
def test_sound_is_in_step_at_16_khz_mono(container, rate_hz, channels):
    given_clicks = np.repeat(clicks(TIMES, rate_hz), channels, axis=0)
    base = Fraction(1, 25) if container == "avi" else Fraction(1, 90_000)
    codec = "pcm_s16le" if container == "avi" else "aac"  # avi has no way to say how much an encoder puts in front
    options = {"g": "8", "bf": "0"}
    file = VideoFile(
        video(
            steady(COUNT), Form(container, options=options, time_base=base), Sound(given_clicks, rate_hz, codec=codec)
        )
    )
    sound = file.sound()
    assert (sound.dtype, sound.shape) == (np.int16, (COUNT * SAMPLES_PER_FRAME,))
    assert loud(sound) == pytest.approx(TIMES, abs=0.004)
    assert 14_000 < np.abs(sound.astype(int)).max() < 26_000


@pytest.mark.parametrize("container", ["mp4", "matroska", "mpegts"])
@pytest.mark.parametrize(("start_s", "length_s"), [(0.4, 0.6), (0.0, 0.3), (0.0, 3.0)])
def test_missing_sound_is_silence_and_too_much_is_cut(container, start_s, length_s):
    begin = Fraction(start_s).limit_denominator(100)
    given_clicks = clicks([t - start_s for t in TIMES], length_s=length_s)
    file = VideoFile(
        video(steady(COUNT), Form(container, options=GOPS["b-frames"]), Sound(given_clicks, start_s=begin))
    )
    sound = file.sound()
    assert file.facts.frames == COUNT
    assert len(sound) == COUNT * SAMPLES_PER_FRAME
    assert loud(sound) == pytest.approx([t for t in TIMES if start_s <= t < start_s + length_s], abs=0.004)
    assert not sound[: int(SAMPLE_RATE_HZ * max(0.0, start_s - 0.07))].any()


def test_silent_film_has_no_sound():
    file = VideoFile(video(steady(3)))
    assert not file.facts.has_sound
    assert file.sound() is None


def test_a_hole_in_the_sound_is_silence():
    """Two stretches of a track that stop and go on half a second later."""
    whole, target = io.BytesIO(video(steady(COUNT), Form("matroska"), Sound(clicks(TIMES)))), io.BytesIO()
    with av.open(whole) as source, av.open(target, "w", format="matroska") as holed:
        streams = {stream.index: holed.add_stream_from_template(stream) for stream in source.streams}
        for packet in source.demux():
            in_hole = packet.stream.type == "audio" and packet.pts is not None and 400 < packet.pts < 700
            if packet.size and not in_hole:
                packet.stream = streams[packet.stream.index]
                holed.mux(packet)
    assert loud(VideoFile(target.getvalue()).sound()) == pytest.approx([0.2, 0.96], abs=0.004)


def test_sound_that_is_no_number_is_named():
    samples = np.full((1, 16_000), np.nan, np.float32)
    target = io.BytesIO()
    with av.open(target, "w", format="matroska") as container:
        pictures = container.add_stream("mjpeg", rate=25)
        pictures.width, pictures.height, pictures.pix_fmt = 48, 32, "yuvj420p"
        track = container.add_stream("pcm_f32le", rate=16_000, layout="mono")
        container.mux(pictures.encode(av.VideoFrame.from_ndarray(barcode(0), format="rgb24")))
        frame = av.AudioFrame.from_ndarray(samples, format="flt", layout="mono")
        frame.sample_rate = 16_000
        container.mux(track.encode(frame))
    with pytest.raises(BadSample, match="not finite") as caught:
        VideoFile(target.getvalue()).sound()
    assert caught.value.reason == "non-finite sound"


# -- strangers' bytes --------------------------------------------------------------------------------------------


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


# -- Mp4 and write_mp4 -------------------------------------------------------------------------------------------


def test_mp4_is_indexed_like_an_array():
    written = io.BytesIO()
    write_mp4(written, [barcode(i) for i in range(20)], key_frame_every=6)
    mp4 = Mp4(written.getvalue())
    whole = VideoFile(written.getvalue()).frames()
    assert mp4.shape == whole.shape == (20, 32, 48, 3)
    assert (mp4.dtype, len(mp4)) == (np.uint8, 20)
    for index in (0, 7, -1, slice(3, 9), slice(None), slice(-4, None), slice(2, 15, 4), slice(9, 2, -3), slice(5, 5)):
        np.testing.assert_array_equal(mp4[index], whole[index])
    with pytest.raises(IndexError):
        mp4[20]
    with pytest.raises(IndexError, match="frames 3 to 21 of a video of 20"):
        mp4.file.frames(3, 21)


def test_written_twice_is_the_same_bytes(tmp_path):
    frames = [barcode(i) for i in range(12)]
    sound = clicks([0.2], length_s=12 / 25)[0]
    for name in ("a.mp4", "b.mp4"):
        write_mp4(tmp_path / name, iter(frames), sound)
    assert (tmp_path / "a.mp4").read_bytes() == (tmp_path / "b.mp4").read_bytes()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.mp4", "b.mp4"]
    file = VideoFile(tmp_path / "a.mp4")
    assert numbers(file.frames()) == list(range(12))
    assert loud(file.sound()) == pytest.approx([0.2], abs=0.004)
    assert file.facts.duration_s == 12 / 25


def test_bytes_do_not_depend_on_where_the_frames_lie_in_memory():
    """x264's quicker kernels depend on it: without cpu-independent a third of these differ."""
    rng = np.random.default_rng(0)
    blocks = [rng.integers(0, 255, (8, 12, 3), np.uint8).repeat(8, 0).repeat(8, 1) for _ in range(12)]
    sound = clicks([0.2], length_s=12 / 25)[0]
    written, between = set(), []
    for attempt in range(20):
        between.append(bytes(int(rng.integers(1, 200_000))))
        moved = [np.empty(block.size + attempt + 1, np.uint8)[attempt + 1 :].reshape(block.shape) for block in blocks]
        for copy, block in zip(moved, blocks, strict=True):
            copy[...] = block
        file = io.BytesIO()
        write_mp4(file, moved, sound)
        written.add(file.getvalue())
    assert len(written) == 1


@pytest.mark.parametrize(
    ("frames", "message"), [([], "at least one frame"), ([np.zeros((31, 48, 3), np.uint8)], "even sizes")]
)
def test_what_cannot_be_written_is_refused(frames, message):
    with pytest.raises(UsageError, match=message):
        write_mp4(io.BytesIO(), frames)
