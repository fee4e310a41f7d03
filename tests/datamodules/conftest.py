"""Small shards, made once for all tests of this folder."""

from pathlib import Path

import pytest

from datamodules.synthetic import write


@pytest.fixture(scope="session")
def heads(tmp_path_factory) -> Path:
    """11 + 5 takes of 9 frames at 16 x 16; to be read only."""
    out = tmp_path_factory.mktemp("shards") / "heads"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(write, "TAKES_PER_SHARD", 4)  # several shards, so that borders are crossed
        return write.synthesize(out, takes=11, held_out=5, frames=9, size=16, workers=1)
