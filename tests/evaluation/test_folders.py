"""Folders of videos: which files are clips, and what each is called."""

import os
from pathlib import Path

import pytest

from datamodules.bad_sample import BadSample
from hallo3_lightning.errors import UsageError
from hallo3_lightning.evaluation.folders import lone, pair
from hallo3_lightning.evaluation.footage import Framing, shoot


def link_to_nowhere(path: Path) -> None:
    path.symlink_to("gone.mp4.before")


def link_to_itself(path: Path) -> None:
    path.symlink_to(path.name)


def device(path: Path) -> None:
    path.symlink_to("/dev/zero")


def pipe(path: Path) -> None:
    os.mkfifo(path)


@pytest.mark.parametrize("make", [link_to_nowhere, link_to_itself, device, pipe])
def test_what_is_no_file_is_counted_as_unreadable_and_never_opened(make, tmp_path):
    """To open a pipe that nobody writes to would wait for ever."""
    make(tmp_path / "a.mp4")
    (video,) = lone(tmp_path).videos
    assert video.state == "no file"
    with pytest.raises(BadSample) as told:
        shoot(video.path, video.clip, video.name, Framing())
    assert told.value.reason == "not a regular file"


def test_folders_that_are_called_like_videos_are_looked_into(tmp_path):
    (tmp_path / "take.mp4").mkdir()
    (tmp_path / "take.mp4" / "b.MOV").touch()
    assert [video.clip for video in lone(tmp_path).videos] == ["take.mp4/b"]


@pytest.mark.parametrize("name", [b"bad\xff.mp4", b"\xe9/a.mp4"])
def test_a_name_that_no_table_can_hold_is_refused(name, tmp_path):
    for side in ("real", "fake"):
        path = Path(os.fsdecode(os.fsencode(tmp_path / side) + b"/" + name))
        path.parent.mkdir(parents=True)
        path.touch()
    with pytest.raises(UsageError, match=r"udc(ff|e9).* is not in UTF-8.*; rename it"):
        pair(tmp_path / "real", tmp_path / "fake")
