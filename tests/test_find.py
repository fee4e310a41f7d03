"""A name finds the class of the file of that name."""

import pytest

from hallo3_lightning.errors import UsageError
from hallo3_lightning.find import find, names

FOLDERS = [
    "conditioning.audio",
    "conditioning.identity",
    "phases",
    "model.encoders.video",
    "model.encoders.text",
    "model.encoders.audio",
    "evaluation.metrics",
]


SHIPPED = {folder: names(folder) for folder in FOLDERS}
"""At collection: tests of other processes may add a file for a moment."""


@pytest.mark.parametrize("folder", FOLDERS)
def test_every_file_of_a_folder_gives_its_own_class(folder):
    found = [find(folder, name) for name in SHIPPED[folder]]
    assert SHIPPED[folder] == sorted(SHIPPED[folder])
    assert [item.__module__ for item in found] == [f"hallo3_lightning.{folder}.{name}" for name in SHIPPED[folder]]
    assert len(set(found)) == len(found) >= 2


@pytest.mark.parametrize("folder", FOLDERS)
def test_a_name_with_a_slip_names_the_nearest_and_lists_all(folder):
    name = SHIPPED[folder][0]
    with pytest.raises(UsageError) as caught:
        find(folder, f"{name[:-1]}_")
    said, _, listed = str(caught.value).partition("there are: ")
    assert f"did you mean '{name}'?" in said
    assert set(SHIPPED[folder]) <= set(listed.split(", "))


@pytest.mark.parametrize("name", ["", "__init__", "_hidden", "os", "../audio"])
def test_what_is_no_strategy_is_not_found(name):
    with pytest.raises(UsageError, match="no audio strategy"):
        find("conditioning.audio", name)
