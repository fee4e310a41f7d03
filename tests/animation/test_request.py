"""What a request says of itself before anything is read."""

from pathlib import Path

import pytest

from hallo3_lightning.animation.request import Changes, Request, check_disk
from hallo3_lightning.animation.sampling import Sampling
from hallo3_lightning.errors import UsageError


def test_scales_of_their_own_replace_one_for_all_and_join_those_of_the_config():
    one = Sampling(guidance=3.5)
    assert Changes().of(one) == one
    assert Changes(guidance=2.0, steps=7).of(one) == Sampling(guidance=2.0, steps=7)
    assert Changes(guidance_audio=4.0).of(one).guidance == {"audio": 4.0}
    several = Sampling(guidance={"text": 2.0, "audio": 3.0})
    assert Changes(guidance_audio=4.0).of(several).guidance == {"text": 2.0, "audio": 4.0}


@pytest.mark.parametrize(
    ("out", "form", "kind"), [("a.mp4", None, "mp4"), ("a.NPZ", None, "npz"), ("a", "png", "png"), ("-", None, "mp4")]
)
def test_the_form_is_told_or_read_from_the_name(out, form, kind):
    assert Request("i", "a", Path("w"), out, format=form).kind == kind


def test_a_film_that_does_not_fit_on_the_disk_is_not_begun(tmp_path):
    check_disk(tmp_path / "small.npz", "npz", 25, (32, 32))
    with pytest.raises(UsageError, match="may need .* GB while it is made and its disk has"):
        check_disk(tmp_path / "huge.npz", "npz", 10**12, (480, 720))
