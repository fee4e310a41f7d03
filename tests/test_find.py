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


@pytest.mark.parametrize("folder", FOLDERS)
def test_every_file_of_a_folder_gives_its_own_class(folder):
    found = [find(folder, name) for name in names(folder)]
    assert names(folder) == sorted(names(folder))
    assert [item.__module__ for item in found] == [f"hallo3_lightning.{folder}.{name}" for name in names(folder)]
    assert len(set(found)) == len(found) >= 2


@pytest.mark.parametrize("folder", FOLDERS)
def test_a_name_with_a_slip_names_the_nearest_and_lists_all(folder):
    name = names(folder)[0]
    with pytest.raises(UsageError) as caught:
        find(folder, f"{name[:-1]}_")
    assert f"did you mean '{name}'?" in str(caught.value)
    assert f"there are: {', '.join(names(folder))}" in str(caught.value)


@pytest.mark.parametrize("name", ["", "__init__", "_hidden", "os", "../audio"])
def test_what_is_no_strategy_is_not_found(name):
    with pytest.raises(UsageError, match="no audio strategy"):
        find("conditioning.audio", name)
