"""What a request says of itself before anything is read."""

import shutil
import sys
from pathlib import Path

import pytest

from hallo3_lightning.animation.sampling import Sampling
from hallo3_lightning.errors import UsageError
from hallo3_lightning.film.files.film import Place
from hallo3_lightning.film.request import Changes, Request, check_disk


def test_without_scales_of_their_own_the_config_stands_or_one_replaces_it():
    one = Sampling(guidance=3.5)
    assert Changes().of(one) == one
    assert Changes(guidance=2.0, steps=7).of(one) == Sampling(guidance=2.0, steps=7)


@pytest.mark.parametrize(
    ("own", "guided", "given", "wanted"),
    [
        (3.0, ("audio",), {"text": 2}, {"text": 2, "audio": 3.0}),
        (3.5, ("text", "audio"), {"audio": 4}, {"text": 3.5, "audio": 4}),
        (3.5, ("text", "audio"), {"identity": 2, "text": 1}, {"text": 1, "audio": 3.5, "identity": 2}),
        (3.0, ("face", "audio", "reference"), {"identity": 2}, {"audio": 3.0, "identity": 2}),
        (3.0, ("face", "motion"), {"text": 2}, {"text": 2, "face": 3.0, "motion": 3.0}),
        (3.0, (), {"text": 2}, {"text": 2}),
        ({"text": 2.0, "audio": 3.0}, ("text",), {"audio": 4}, {"text": 2.0, "audio": 4}),
        ({"motion": 3.0, "face": 2.0}, (), {"identity": 4}, {"identity": 4, "motion": 3.0}),
        ({"identity": 2.0}, (), {"audio": 4}, {"audio": 4, "identity": 2.0}),
    ],
)
def test_a_scale_of_its_own_leaves_the_config_s_to_what_is_not_named(own, guided, given, wanted):
    changes = Changes(**{f"guidance_{name}": scale for name, scale in given.items()})
    found = changes.of(Sampling(guidance=own, guided=guided)).guidance
    assert list(found.items()) == list(wanted.items())


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ({"resume": True, "overwrite": True}, "give either"),
        ({"max_memory": "plenty"}, "--max-memory is plenty; expected an amount"),
        ({"fit": "snug"}, "--fit is snug; expected one of auto, crop"),
    ],
)
def test_settings_that_mean_nothing_are_said_before_anything_is_read(tmp_path, given, told):
    with pytest.raises(UsageError, match=told):
        asked(tmp_path / "talk.mp4", **given).check()


@pytest.mark.parametrize(
    ("out", "form", "kind"), [("a.mp4", None, "mp4"), ("a.NPZ", None, "npz"), ("a", "png", "png"), ("-", None, "mp4")]
)
def test_the_form_is_told_or_read_from_the_name(out, form, kind):
    assert Request("i", "a", Path("w"), out, format=form).kind == kind


def asked(out: Path | str, **given) -> Request:
    return Request(**{"image": "i.png", "audio": "a.wav", "weights": Path("w"), "out": str(out), **given})


@pytest.mark.parametrize(
    ("name", "form", "found"), [("e.mp4", "npz", "mp4"), ("e.npz", "mp4", "npz"), ("e.mp4", "png", "mp4")]
)
def test_a_name_of_one_form_is_not_given_to_another(name, form, found):
    with pytest.raises(UsageError, match=f"is the name of an {found} and --format is {form}"):
        asked(name, format=form).check()


def linked(path: Path) -> Path:
    (path.parent / "link.mp4").symlink_to(path)
    return path.parent / "link.mp4"


def hard_linked(path: Path) -> Path:
    (path.parent / "hard.mp4").hardlink_to(path)
    return path.parent / "hard.mp4"


@pytest.mark.parametrize("option", ["audio", "image"])
@pytest.mark.parametrize("name", [lambda path: path, linked, hard_linked, lambda path: path.parent / "x/../talk.mp4"])
def test_a_film_does_not_replace_what_it_is_made_of(tmp_path, option, name):
    (tmp_path / "talk.mp4").write_text("a recording")
    (tmp_path / "x").mkdir()
    with pytest.raises(UsageError, match=f"is where --{option} .* is, which it would replace"):
        asked(name(tmp_path / "talk.mp4"), **{option: str(tmp_path / "talk.mp4")}, overwrite=True).check()


@pytest.mark.parametrize("name", ["talk.npz.frames", "talk.npz.partial"])
@pytest.mark.parametrize("option", ["audio", "image"])
def test_what_lies_beside_a_film_does_not_replace_what_it_is_made_of(tmp_path, name, option):
    (tmp_path / name).write_text("a recording")
    with pytest.raises(UsageError, match=f"needs .*{name} while it is made, where --{option} is"):
        asked(tmp_path / "talk.npz", **{option: str(tmp_path / name)}, overwrite=True).check()
    asked(tmp_path / "talk.mp4", **{option: str(tmp_path / name)}).check()


def test_a_film_goes_where_a_link_points_to(tmp_path):
    (tmp_path / "disk").mkdir()
    (tmp_path / "talk.mp4").symlink_to("disk/film")
    (tmp_path / "far.mp4").symlink_to("talk.mp4")
    request = asked(tmp_path / "far.mp4")
    request.check()
    assert request.path == (tmp_path / "disk/film").resolve()
    assert request.kind == "mp4"
    (tmp_path / "disk").rmdir()
    with pytest.raises(UsageError, match="in a folder that is not there"):
        asked(tmp_path / "talk.mp4").check()


def test_a_link_to_itself_is_said(tmp_path):
    (tmp_path / "a.mp4").symlink_to("b.mp4")
    (tmp_path / "b.mp4").symlink_to("a.mp4")
    with pytest.raises(UsageError, match="is a link that leads to itself"):
        asked(tmp_path / "a.mp4").check()


def test_pictures_do_not_replace_the_portrait_among_them(tmp_path):
    for name in ("00000040.png", "me.png"):
        (tmp_path / name).write_text("a picture")
    with pytest.raises(UsageError, match="which it would replace"):
        asked(tmp_path, image=str(tmp_path / "00000040.png"), format="png", overwrite=True).check()
    asked(tmp_path, image=str(tmp_path / "me.png"), format="png", overwrite=True).check()


@pytest.mark.parametrize("name", ["y" * 251 + ".mp4", "y" * 300 + ".mp4", "\u6f22" * 84 + ".mp4"])
def test_a_name_leaves_room_for_those_beside_it(tmp_path, name):
    with pytest.raises(UsageError, match="name of more than 244 bytes"):
        asked(tmp_path / name).check()


def test_a_device_is_no_place_for_a_film():
    with pytest.raises(UsageError, match="is a device or a pipe"):
        asked("/dev/null", format="mp4").check()


@pytest.mark.parametrize(("option", "stream"), [("audio", "stdin"), ("out", "stdout")])
def test_a_pipe_that_is_closed_is_said(tmp_path, monkeypatch, option, stream):
    monkeypatch.setattr(sys, stream, None)
    with pytest.raises(UsageError, match=f"--{option} - is a pipe, and none is open"):
        asked(**{"out": tmp_path / "talk.mp4", option: "-"}, stream=True).check()


@pytest.mark.parametrize("told", [1, "1", -3, 2.5, "2.5", "", "All", "many", "1_000", "9" * 5000, True])
def test_a_context_that_is_none_is_said(tmp_path, told):
    with pytest.raises(
        UsageError, match="--audio-context-frames is .*give the frames on either side .*, 2 or more, or all"
    ):
        asked(tmp_path / "talk.mp4", audio_context_frames=told).check()


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ({"audio": "-", "audio_context_frames": "all"}, "--audio-context-frames all hears all .* record it to a file"),
        ({"audio": "-", "loop": "published"}, "--loop published hears all .* which a pipe cannot give"),
        ({"loop": "published", "audio_context_frames": 9}, "--loop published hears all of the speech, not 9 frames"),
    ],
)
def test_what_hears_everything_goes_with_nothing_less(tmp_path, given, told):
    with pytest.raises(UsageError, match=told):
        asked(tmp_path / "talk.mp4", **given).check()


@pytest.mark.parametrize("given", [{"audio_context_frames": 2}, {"audio_context_frames": "125"}, {"loop": "published"}])
def test_contexts_that_there_are_pass(tmp_path, given):
    asked(tmp_path / "talk.mp4", **given).check()
    asked(tmp_path / "talk.mp4", **{**given, "audio_context_frames": "all"}).check()


def test_a_film_that_does_not_fit_on_the_disk_is_not_begun(tmp_path):
    check_disk(tmp_path / "small.npz", "npz", 25, (32, 32))
    with pytest.raises(UsageError, match="may need .* GB while it is made and its disk has"):
        check_disk(tmp_path / "huge.npz", "npz", 10**12, (480, 720))


def test_a_small_disk_is_told_in_its_own_unit_and_what_lies_beside_a_film_counts(tmp_path, monkeypatch):
    free = shutil.disk_usage(tmp_path)._replace(free=60_000)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: free)
    with pytest.raises(UsageError, match=r"may need \d+\.\d KB while it is made and its disk has 60\.0 KB free"):
        check_disk(tmp_path / "talk.mp4", "mp4", 58, (32, 32))


@pytest.mark.parametrize(
    ("kind", "there", "free"),
    [("mp4", Place(700, 8_000_000), 45_000_000), ("npz", Place(700, 537_600_000), 1_060_000_000)]
    + [("png", Place(700), 250_000_000)],
)
def test_of_a_film_that_is_gone_on_with_only_the_rest_and_its_finishing_need_room(
    kind, there, free, tmp_path, monkeypatch
):
    disk = shutil.disk_usage(tmp_path)._replace(free=free)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: disk)
    check_disk(tmp_path / "talk", kind, 1000, (400, 640), there)
    with pytest.raises(UsageError, match="make room"):
        check_disk(tmp_path / "talk", kind, 1000, (400, 640))
    with pytest.raises(UsageError, match="make room"):
        check_disk(tmp_path / "talk", kind, 1300, (400, 640), there)
