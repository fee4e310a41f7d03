"""Samples' keys as names of files."""

import pytest

from hallo3_lightning.evaluation.file_names import LONGEST, file_names


def test_no_key_becomes_a_path_and_none_is_lost():
    names = file_names(["a", "../../b", "/c", "d e.f", "a", "ü"])
    assert len(set(names)) == 6
    assert not any("/" in name for name in names)
    assert names[1] == "..%2F..%2Fb"
    assert (names[0], names[4]) == ("a+0", "a+4")


@pytest.mark.parametrize(
    "keys",
    [
        ["a", "a", "a+0"],
        ["a/b", "a%2Fb"],
        ["x" * 300, "x" * 299 + "y"],
        ["\u6f22" * 90, "\u6f22" * 91],
        ["\0", "\n", "\\", "..", ".", "", "\udc80"],
    ],
)
def test_what_differs_differs_and_every_name_can_be_a_file(keys, tmp_path):
    names = file_names(keys)
    for name in names:
        (tmp_path / f"{name}.npy").touch()
        assert len(name) <= LONGEST
    assert len([*tmp_path.iterdir()]) == len(set(names)) == len(keys)
