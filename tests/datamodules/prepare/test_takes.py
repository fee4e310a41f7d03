from hypothesis import given
from hypothesis import strategies as st

from datamodules.prepare.takes import takes


@given(
    frames=st.integers(1, 400),
    cuts=st.sets(st.integers(1, 399), max_size=5),
    longest=st.integers(0, 90),
)
def test_takes_tile_the_video_cross_no_cut_and_are_no_longer_than_asked(frames, cuts, longest):
    inside = sorted(cut for cut in cuts if cut < frames)
    found = list(takes(frames, inside, longest))
    assert [frame for take in found for frame in range(take.first, take.last)] == list(range(frames))
    assert [take.number for take in found] == list(range(len(found)))
    assert not any(take.first < cut < take.last for take in found for cut in inside)
    assert longest == 0 or all(take.frames <= longest for take in found)


@given(frames=st.integers(1, 400), longest=st.integers(1, 90))
def test_a_scene_is_parted_evenly_into_as_few_as_fit(frames, longest):
    sizes = [take.frames for take in takes(frames, [], longest)]
    assert max(sizes) - min(sizes) <= 1
    assert len(sizes) == -(-frames // longest)


def test_without_a_limit_a_scene_is_one_take():
    assert [(take.first, take.frames) for take in takes(1000, [300], 0)] == [(0, 300), (300, 700)]
