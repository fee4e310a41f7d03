"""Sound in every awkward form: in step with the picture, at 16 kHz, mono."""

import io
from fractions import Fraction

import av
import numpy as np
import pytest

from datamodules.bad_sample import BadSample
from datamodules.video.video_file import VideoFile
from hallo3_lightning.geometry import SAMPLE_RATE_HZ, SAMPLES_PER_FRAME
from tests.datamodules.numbered_videos import (
    COUNT,
    GOPS,
    TIMES,
    Form,
    Sound,
    barcode,
    clicks,
    loud,
    steady,
    video,
)


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
