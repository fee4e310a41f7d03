"""What a phase refuses before it is built."""

import pytest

from hallo3_lightning.animation.sampling import Sampling
from hallo3_lightning.errors import UsageError
from hallo3_lightning.find import find, names
from tests import tiny


@pytest.mark.parametrize("phase", names("phases"))
def test_no_more_frames_are_blended_than_a_window_brings(phase):
    with pytest.raises(UsageError, match=r"9 frames to blend over \(.* model.sampling.blend_frames\), .* give 0 to 8"):
        find("phases", phase)(
            backbone=tiny.backbone(), motion_frames=1, sampling=Sampling(blend_frames=9), init_from="absent"
        )
