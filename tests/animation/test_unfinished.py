"""The folder beside a film in the making: one process at a time, whole or not at all."""

import fcntl
import os
import shutil

import pytest
import torch

from hallo3_lightning.animation.animator import Continuation
from hallo3_lightning.animation.film import Place
from hallo3_lightning.animation.unfinished import Kept, Unfinished
from hallo3_lightning.errors import UsageError


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

    def asked_for_meanwhile(*given: object, **more: bool) -> None:
        monkeypatch.undo()
        with pytest.raises(UsageError, match="another process"):
            second.hold()
        shutil.rmtree(*given, **more)

    monkeypatch.setattr(shutil, "rmtree", asked_for_meanwhile)
    first.let_go()
    assert not first.folder.exists()


def test_what_was_kept_comes_back(tmp_path):
    unfinished = Unfinished(tmp_path / "talk.mp4")
    unfinished.hold()
    motion = torch.arange(24, dtype=torch.uint8).reshape(1, 2, 3, 2, 2)
    unfinished.keep({"seed": 7}, Kept(Place(32, 1000, 2, 10), Continuation(2, motion)))
    kept = unfinished.kept({"seed": 7})
    assert kept.place == Place(32, 1000, 2, 10)
    assert torch.equal(kept.following.motion, motion)
    assert sorted(path.name for path in unfinished.folder.iterdir()) == ["lock", "state.safetensors"]


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
