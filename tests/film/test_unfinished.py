"""The folder beside a film in the making: one process at a time, whole or not at all."""

import fcntl
import json
import os
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from hallo3_lightning.animation.animator import Continuation
from hallo3_lightning.errors import UsageError
from hallo3_lightning.film.files.film import Place
from hallo3_lightning.film.unfinished import UNKNOWN, Kept, Unfinished, differing


def test_one_process_at_a_time_makes_a_film(tmp_path):
    first, second = Unfinished(tmp_path / "talk.mp4"), Unfinished(tmp_path / "talk.mp4")
    first.hold()
    with pytest.raises(UsageError, match="another process is making the film"):
        second.hold()
    first.let_go()
    assert not first.folder.exists()
    second.hold()
    with pytest.raises(UsageError, match="another process"):
        first.hold()


def test_a_lock_that_its_holder_removed_locks_nothing(tmp_path, monkeypatch):
    """Whoever opened it before it was removed would hold a file that nobody else ever sees."""
    first, second, third = (Unfinished(tmp_path / "talk.mp4") for _ in range(3))
    first.hold()

    def removed_between(*given: int) -> None:
        monkeypatch.undo()
        first.let_go()
        fcntl.flock(*given)

    monkeypatch.setattr(fcntl, "flock", removed_between)
    second.hold()
    with pytest.raises(UsageError, match="another process"):
        third.hold()


def test_the_folder_goes_before_the_lock_is_let_go(tmp_path, monkeypatch):
    first, second = Unfinished(tmp_path / "talk.mp4"), Unfinished(tmp_path / "talk.mp4")
    first.hold()

    unlink = Path.unlink

    def asked_for_meanwhile(*given: object, **more: bool) -> None:
        with pytest.raises(UsageError, match="another process"):
            second.hold()
        unlink(*given, **more)

    with monkeypatch.context() as patched:
        patched.setattr(Path, "unlink", asked_for_meanwhile)
        first.remove()
        first.let_go()
    assert not first.folder.exists()


def test_whoever_lets_go_removes_nothing_of_the_next(tmp_path):
    first, second = Unfinished(tmp_path / "talk.mp4"), Unfinished(tmp_path / "talk.mp4")
    first.hold()
    first.let_go()
    second.hold()
    first.let_go()
    with pytest.raises(UsageError, match="another process"):
        first.hold()


def test_a_folder_that_goes_just_before_its_lock_is_opened_is_made_again(tmp_path, monkeypatch):
    unfinished, made = Unfinished(tmp_path / "talk.mp4"), Path.mkdir

    def removed_at_once(folder: Path, **given: bool) -> None:
        monkeypatch.undo()
        made(folder, **given)
        folder.rmdir()

    monkeypatch.setattr(Path, "mkdir", removed_at_once)
    unfinished.hold()
    assert unfinished.folder.is_dir()


def test_nobody_elses_files_go_with_a_finished_film(tmp_path):
    mine = tmp_path / "talk.npz.unfinished/thesis.txt"
    mine.parent.mkdir()
    mine.write_text("all of it")
    beside = [tmp_path / "talk.npz.frames", tmp_path / "talk.npz.partial"]
    unfinished = Unfinished(tmp_path / "talk.npz", beside)
    unfinished.hold()
    unfinished.refuse_others()
    unfinished.keep({"seed": 7}, Kept())
    for file in beside:
        file.write_text("frames")
    unfinished.refuse_others()
    unfinished.remove()
    unfinished.let_go()
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == [mine]


@pytest.mark.parametrize("put", [lambda file: file.write_text("mine"), lambda file: file.symlink_to("my own")])
def test_a_file_that_is_there_before_the_making_is_not_its_own(tmp_path, put):
    beside = tmp_path / "talk.npz.frames"
    put(beside)
    unfinished = Unfinished(tmp_path / "talk.npz", [beside])
    unfinished.hold()
    with pytest.raises(UsageError, match=r"talk\.npz\.frames is there, .* move or delete it"):
        unfinished.refuse_others()
    unfinished.let_go()
    assert list(tmp_path.iterdir()) == [beside]


@pytest.mark.parametrize("name", ["state.safetensors", "state.safetensors.partial", "lock"])
def test_a_folder_in_place_of_a_file_is_one_sentence(tmp_path, name):
    (tmp_path / "talk.mp4.unfinished" / name).mkdir(parents=True)
    with pytest.raises(UsageError, match=r"is a folder and should be a file|Is a directory"):
        Unfinished(tmp_path / "talk.mp4").hold()


def test_what_was_kept_comes_back(tmp_path):
    unfinished = Unfinished(tmp_path / "talk.mp4")
    unfinished.hold()
    motion = torch.arange(24, dtype=torch.uint8).reshape(1, 2, 3, 2, 2)
    unfinished.keep({"seed": 7}, Kept(Place(32, 1000, 2, 10), Continuation(2, motion)))
    kept = unfinished.kept({"seed": 7})
    assert kept.place == Place(32, 1000, 2, 10)
    assert torch.equal(kept.following.motion, motion)
    assert sorted(path.name for path in unfinished.folder.iterdir()) == ["lock", "state.safetensors"]


def edited(state: Path, about: dict, motion: torch.Tensor | None = None) -> None:
    with safe_open(state, framework="pt") as file:
        told = file.metadata()
    whole = {**json.loads(told["about"]), **about}
    tensors = load_file(state) if motion is None else {"motion": motion}
    save_file(tensors, state, {**told, "about": json.dumps(whole)})


MOTION = torch.zeros(1, 2, 3, 4, 4, dtype=torch.uint8)


@pytest.mark.parametrize(
    "spoil",
    [
        *(lambda state, frames=frames: edited(state, {"place": {"frames": frames}}) for frames in ("x", -5, 1.5)),
        *(lambda state, window=window: edited(state, {"window": window}) for window in ("x", -3, 3)),
        *(
            lambda state, motion=motion: edited(state, {}, motion)
            for motion in (MOTION[:, :1], MOTION.float() * torch.nan, MOTION + 1)
        ),
        lambda state: edited(state, {"facts": [1]}),
        lambda state: save_file({}, state, {"about": "[]"}),
        lambda state: save_file({}, state),
        lambda state: state.write_text(""),
        lambda state: state.write_bytes(state.read_bytes()[:-1]),
    ],
)
def test_what_was_not_kept_as_it_is_does_not_come_back(tmp_path, spoil):
    unfinished = Unfinished(tmp_path / "talk.mp4")
    unfinished.hold()
    unfinished.keep({"seed": 7}, Kept(Place(32, 1000, 2, 10), Continuation(2, MOTION)))
    spoil(unfinished.folder / "state.safetensors")
    with pytest.raises(UsageError, match=r"unfinished is damaged \(.*\); begin again with --overwrite"):
        unfinished.kept({"seed": 7})


@pytest.mark.parametrize("held", ["", "{}", "x" * 99, "\x08" + "\0" * 7 + "not json"])
def test_an_edited_state_is_told_without_the_words_of_a_library(tmp_path, held):
    unfinished = Unfinished(tmp_path / "talk.mp4")
    unfinished.hold()
    (unfinished.folder / "state.safetensors").write_text(held)
    with pytest.raises(UsageError, match=r"is damaged \(it was cut off or edited\); begin again"):
        unfinished.kept({"seed": 7})


def test_what_nobody_knows_yet_differs_from_nothing():
    there = {"seed": 7, "weights": "ab", "old": 1}
    assert differing(there, {"seed": 7, "weights": UNKNOWN, "old": 1}) == []
    assert differing(there, {"seed": 8, "weights": UNKNOWN}) == ["old (1 there, null here)", "seed (7 there, 8 here)"]


@pytest.mark.parametrize("motion", [MOTION, MOTION.bfloat16()])
def test_motion_frames_of_either_loop_come_back(tmp_path, motion):
    unfinished = Unfinished(tmp_path / "talk.mp4")
    unfinished.hold()
    unfinished.keep({}, Kept(Place(32), Continuation(2, motion)))
    assert torch.equal(unfinished.kept({}).following.motion, motion)


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="needs a device that is always full")  # noqa: PTH110
def test_a_full_disk_is_an_error_of_the_disk(tmp_path):
    unfinished = Unfinished(tmp_path / "talk.mp4")
    unfinished.hold()
    (unfinished.folder / "state.safetensors.partial").symlink_to("/dev/full")
    with pytest.raises(OSError, match="No space left"):
        unfinished.keep({"seed": 7}, Kept())


def test_a_place_where_nothing_can_be_made_is_one_sentence(tmp_path):
    with pytest.raises(UsageError, match=r"cannot be made \(No such file"):
        Unfinished(tmp_path / "absent/talk.mp4").hold()
