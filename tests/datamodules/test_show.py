import json
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image
from tars import sample as tiny_sample
from tars import write_tar

from datamodules.index import open_index
from datamodules.shards import encode, write_shard
from datamodules.show import contact_sheet, loudness, plots, save, statistics
from datamodules.synthetic.take import make_take
from datamodules.video.write_mp4 import write_mp4
from hallo3_lightning.cli import main


@pytest.fixture(scope="module")
def take():
    """5 frames of 16 x 16."""
    return make_take(3, 0, frames=5, size=16)


@pytest.fixture
def folder(tmp_path, take):
    """Three takes: one of another length, one that is silent and of an unknown face, one that cannot be decoded."""
    shards = tmp_path / "shards"
    shards.mkdir()
    silent = replace(take, key="silent", waveform=None, truth=None, facts={**take.facts, "face_box": None})
    write_shard(shards / "a.tar", [make_take(3, 1, frames=9, size=16), silent])
    write_tar(shards / "b.tar", tiny_sample("broken", encode(take) | {"json": b"{"}))
    return shards


def orange(path) -> int:
    """Pixels of the colour of the face box."""
    pixels = np.asarray(Image.open(path).convert("RGB")).astype(int)
    return int((np.abs(pixels - (0xE8, 0x59, 0x0C)).max(-1) < 12).sum())


def test_statistics_say_what_is_there(folder):
    found = statistics(open_index(folder), 100)
    assert found.bad == {"undecodable member": 1}
    assert [one.frames for one in found.seen] == [9, 5]
    assert found.hours == pytest.approx((9 + 5) / 2 / 25 * 3 / 3600), (
        "of all three, the broken one as long as the others"
    )
    long, silent = found.seen
    assert (silent.face, silent.yaw, silent.loudness) == (None, None, None)
    made = make_take(3, 1, frames=9, size=16)
    assert long.face == (made.facts["face_box"][3] - made.facts["face_box"][1]) / 16
    assert long.yaw == pytest.approx(np.degrees(np.abs(made.truth["yaw"]).max()))
    assert long.words == len(made.caption.split())


def test_looking_at_few_does_not_read_the_frames(heads, monkeypatch):
    index, asked = open_index(heads / "train"), []
    read = index.store.read
    monkeypatch.setattr(index.store, "read", lambda ranges: asked.extend(ranges) or read(ranges))
    found = statistics(index, 4)
    assert [one.key for one in found.seen] == [index.key(number) for number in (0, 3, 7, 10)]
    sizes = [index.sizes(number)["video.npy"] for number in range(len(index))]
    assert not {wanted.size for wanted in asked} & set(sizes)


@pytest.mark.parametrize("amplitude", [1.0, 0.1, 0.01])
def test_loudness_of_a_sine_is_three_decibels_below_its_peak(amplitude):
    sine = np.rint(32767 * amplitude * np.sin(np.arange(16_000) * 2 * np.pi * 440 / 16_000)).astype(np.int16)
    assert loudness(sine) == pytest.approx(20 * np.log10(amplitude) - 10 * np.log10(2), abs=0.02)


def test_silence_is_the_quietest():
    assert loudness(np.zeros(640, np.int16)) == -90


def test_face_box_is_drawn_where_it_is_known(take, tmp_path):
    drawn = []
    for box in (take.facts["face_box"], None, "not a box"):
        save(contact_sheet(replace(take, facts={**take.facts, "face_box": box})), tmp_path / "sheet.png")
        drawn.append(orange(tmp_path / "sheet.png"))
    assert drawn[0] > 1000
    assert drawn[1:] == [0, 0]


HOSTILE = ["", "$\\frac{ $$ \x1b[31m\n \x00 \udcff \u202e", "word " * 3000, "字" * 900]


@pytest.mark.filterwarnings("ignore:Glyph")
@pytest.mark.parametrize("caption", HOSTILE)
def test_no_caption_key_or_fact_stops_the_drawing(take, caption, tmp_path):
    facts = {**take.facts, "identity": caption, caption[:50]: [caption]}
    save(contact_sheet(replace(take, caption=caption, key=caption, facts=facts)), tmp_path / "sheet.png")
    with Image.open(tmp_path / "sheet.png") as sheet:
        assert sheet.width > 1000
        assert sheet.height < 2000


@pytest.mark.parametrize(("frames", "sound"), [(1, True), (7, False), (40, True)])
def test_a_take_of_any_length_is_drawn(frames, sound, tmp_path):
    take = make_take(3, 0, frames=frames, size=16)
    save(contact_sheet(take if sound else replace(take, waveform=None, truth=None)), tmp_path / "sheet.png")
    assert orange(tmp_path / "sheet.png") > 100


def test_plots_are_drawn_of_what_there_is(folder, heads, tmp_path):
    found = {str(place): statistics(open_index(place), 100) for place in (folder, heads / "held_out")}
    for shown in (found, {"none": statistics(open_index(folder), 1)}):
        save(plots(shown), tmp_path / "plots.png")
        with Image.open(tmp_path / "plots.png") as drawn:
            assert drawn.width > 1000


def test_command_shows_a_data_set_and_a_sample(heads, tmp_path, capsys):
    assert main(["show", str(heads), "--out", str(tmp_path / "plots.png")]) == 0
    said = capsys.readouterr().out
    for words in ("11 in 3 shards", "5 in 2 shards", "9 to 9, median 9", "16 x 16: 11", "100.0%"):
        assert words in said
    for key in ("0000004", "1000003"):  # of either split
        assert main(["show", str(heads), key, "--out", str(tmp_path / f"{key}.png")]) == 0
        said = capsys.readouterr().out
        assert "video.npy" in said
        assert "A person with" in said
        assert orange(tmp_path / f"{key}.png") > 1000


def test_some_samples_are_said_to_be_some(heads, capsys):
    assert main(["show", str(heads / "train"), "--samples", "2"]) == 0
    assert "about 0.001" in capsys.readouterr().out


def test_video_file_without_facts_is_shown(tmp_path, take, capsys):
    write_mp4(tmp_path / "film.mp4", np.repeat(np.asarray(take.video), 4, 0), np.tile(take.waveform, 4))
    members = {"mp4": (tmp_path / "film.mp4").read_bytes(), "txt": b"somebody", "pkl": b"never"}
    write_tar(tmp_path / "a.tar", tiny_sample("film", members))
    assert main(["show", str(tmp_path)]) == 0
    assert "20 to 20, median 20" in capsys.readouterr().out
    assert main(["show", str(tmp_path), "film", "--out", str(tmp_path / "sheet.png")]) == 0
    said = capsys.readouterr().out
    assert "never read" in said
    assert "somebody" in said


MISTAKES = {
    "000004": "no sample '000004' in {heads}/train; did you mean '0000004'?",
    "0000004 --out sheet.jpg": "--out is sheet.jpg; expected a name that ends with .png",
    "0000004 --out nowhere/sheet.png": "expected a name that ends with .png, in a folder that is there",
    "--samples 0": "--samples is 0; expected 1 or more",
}


@pytest.mark.parametrize("typed", MISTAKES)
def test_mistake_is_one_sentence(heads, typed, capsys):
    assert main(["show", str(heads), *typed.split()]) == 2
    said = capsys.readouterr().err
    assert MISTAKES[typed].format(heads=heads) in said
    assert said.count("\n") == 1


@pytest.mark.parametrize("far", ["1e400", "NaN", "1" + "0" * 400])
def test_numbers_that_no_plot_can_hold_are_not_drawn(take, tmp_path, far):
    odd = {"yaw": np.array([np.inf, np.nan, 0.5, 0, 0]), "aperture": np.zeros((5, 2, 2))}
    members = encode(replace(take, truth={**take.truth, **odd}))
    facts = json.dumps({**take.facts, "face_box": [0, 0, 1, "far"]}).replace('"far"', far)
    write_tar(tmp_path / "a.tar", tiny_sample("odd", {**members, "json": facts.encode()}))
    found = statistics(open_index(tmp_path), 9)
    assert (found.seen[0].face, round(found.seen[0].yaw)) == (None, 29)
    save(plots({"one": found}), tmp_path / "plots.png")
    assert main(["show", str(tmp_path), "odd"]) == 2
    save(contact_sheet(replace(take, truth={**take.truth, **odd})), tmp_path / "sheet.png")
