from fractions import Fraction

import av
import numpy as np
import pytest
import soundfile

from datamodules.prepare.sound import loudness_dbfs, read_vocals
from datamodules.prepare.verdict import Dropped
from datamodules.video.video_file import VideoFile


def tone(rate_hz: int, duration_s: float, amplitude: float = 0.5) -> np.ndarray:
    """200 Hz."""
    return amplitude * np.sin(2 * np.pi * 200 * np.arange(round(rate_hz * duration_s)) / rate_hz)


def test_stereo_at_another_rate_becomes_16_khz_mono(tmp_path):
    soundfile.write(tmp_path / "vocals.wav", np.stack([tone(44_100, 0.5)] * 2, axis=1), 44_100)
    sound = read_vocals(tmp_path / "vocals.wav", 8000)
    assert sound.dtype == np.int16
    middle = slice(1000, 7000)  # the resampler's filter has not swung in at the ends
    assert np.abs(sound[middle] / 32768 - tone(16_000, 0.5)[middle]).max() < 0.01


@pytest.mark.parametrize("samples", [3000, 9000])
def test_it_is_as_long_as_the_video(tmp_path, samples):
    soundfile.write(tmp_path / "vocals.wav", tone(16_000, 0.3), 16_000, subtype="PCM_16")
    sound = read_vocals(tmp_path / "vocals.wav", samples)
    assert len(sound) == samples
    assert sound[:3000].any()
    assert not sound[4800:].any()


@pytest.mark.parametrize("layout", ["5.1", "7.1"])
def test_sound_of_many_channels_is_mixed_down(tmp_path, layout):
    """All channels the same: their mean is each of them. Eight planes are more than PyAV can read itself."""
    channels = {"5.1": 6, "7.1": 8}[layout]
    sound = np.repeat(tone(48_000, 0.4, 0.2), channels)[None].astype(np.float32)
    with av.open(tmp_path / "a.mp4", "w") as container:
        video = container.add_stream("mpeg4", rate=25)
        video.width, video.height = 32, 32
        audio = container.add_stream("aac", rate=48_000, layout=layout)
        for number in range(10):
            picture = av.VideoFrame.from_ndarray(np.full((32, 32, 3), 20 * number, np.uint8))
            picture.pts, picture.time_base = number, Fraction(1, 25)
            container.mux(video.encode(picture))
        heard = av.AudioFrame.from_ndarray(sound, format="flt", layout=layout)
        heard.sample_rate, heard.pts, heard.time_base = 48_000, 0, Fraction(1, 48_000)
        container.mux(audio.encode(heard))
        container.mux(video.encode()), container.mux(audio.encode())
    found = VideoFile(tmp_path / "a.mp4").sound()
    assert found is not None
    assert len(found) == 10 * 640
    assert np.corrcoef(found[1000:5000], tone(16_000, 0.4)[1000:5000])[0, 1] > 0.98


def test_what_is_no_wav_is_dropped(tmp_path):
    (tmp_path / "vocals.wav").write_text("no sound")
    with pytest.raises(Dropped, match="undecodable: the separated vocals vocals.wav"):
        read_vocals(tmp_path / "vocals.wav", 100)


def test_loudness_of_known_sounds():
    full = (tone(16_000, 0.5, 1.0) * 32767).astype(np.int16)
    assert loudness_dbfs(full) == pytest.approx(-3.01, abs=0.01)
    assert loudness_dbfs((full / 100).astype(np.int16)) == pytest.approx(-43.01, abs=0.05)
    assert loudness_dbfs(np.zeros(5, np.int16)) == loudness_dbfs(np.zeros(0, np.int16)) == -np.inf
