"""Videos in every awkward form: the frames and the sound that come out are those that went in."""

import io
import struct
from fractions import Fraction

import av
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from datamodules.video.frame_grid import Stamp, frame_grid
from datamodules.video.video_file import Mp4, VideoFile, write_mp4
from hallo3_lightning.errors import UsageError
from tests.datamodules.numbered_videos import (
    COUNT,
    GOPS,
    MILLISECONDS,
    Form,
    Sound,
    barcode,
    clicks,
    loud,
    number_of,
    numbers,
    steady,
    video,
)

NTSC = Fraction(30_000, 1001)
HALF = Fraction(1, 50)
IRREGULAR = [Fraction(t, 1000) for t in np.cumsum([0, *np.random.default_rng(1).integers(1, 120, COUNT - 1)]).tolist()]


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


@pytest.mark.parametrize("size", [(33, 47), (32, 48)])
def test_rgb24_keeps_every_number(tmp_path, size):
    noise = np.random.default_rng(0).integers(0, 256, (7, *size, 3), dtype=np.uint8)
    sound = np.random.default_rng(1).integers(-9000, 9000, 7 * 640, dtype=np.int16)
    write_mp4(tmp_path / "a.mp4", noise, sound, pixel_format="rgb24")
    assert np.array_equal(VideoFile(tmp_path / "a.mp4").frames(), noise)
    assert VideoFile(tmp_path / "a.mp4").sound().shape == sound.shape


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
