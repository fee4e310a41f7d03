import pytest

from datamodules.prepare.splits import HELD_OUT, TRAIN, Split, read_split
from hallo3_lightning.errors import UsageError

PEOPLE = [f"person {number}" for number in range(400)]


def held_out(split: Split, people: list[str]) -> set[str]:
    return {person for person, side in split.of(people).items() if side == HELD_OUT}


def test_a_share_of_the_identities_is_held_out():
    assert 60 < len(held_out(Split(share=0.2), PEOPLE)) < 100


def test_nobody_changes_sides_when_others_come():
    few, many = held_out(Split(share=0.2), PEOPLE[:100]), held_out(Split(share=0.2), PEOPLE)
    assert few == many & set(PEOPLE[:100])
    assert few


@pytest.mark.parametrize("share", [0.0001, 0.9999])
def test_both_sides_have_somebody_where_there_are_two(share):
    assert set(Split(share=share).of(["anna", "bert"]).values()) == {TRAIN, HELD_OUT}


def test_none_and_all_are_taken_by_their_word():
    assert set(Split(share=0).of(PEOPLE).values()) == {TRAIN}
    assert set(Split(share=1).of(PEOPLE).values()) == {HELD_OUT}


def test_a_file_names_who_is_held_out(tmp_path):
    (tmp_path / "test.txt").write_text("bert\n\n carla \n")
    assert held_out(read_split(str(tmp_path / "test.txt")), ["anna", "bert", "carla"]) == {"bert", "carla"}


def test_a_named_identity_that_there_is_not_is_refused():
    with pytest.raises(UsageError, match="no identity 'bart' in the videos; .* did you mean 'bert'"):
        Split(named=("bart",)).check(["anna", "bert"])
    Split(named=("bert",)).check(["anna", "bert"])


@pytest.mark.parametrize(
    ("told", "message"), [("1.5", "a share is between 0 and 1"), ("nowhere.txt", "expected a share")]
)
def test_nonsense_is_refused(told, message):
    with pytest.raises(UsageError, match=message):
        read_split(told)
