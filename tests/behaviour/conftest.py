"""Small shards, a small network and a trained phase 1, made once a session."""

import pytest
import torch

from datamodules.synthetic.autoencoder import fit_autoencoder
from datamodules.synthetic.write import synthesize
from tests.behaviour.studio import LAYER, Studio


@pytest.fixture(scope="session", autouse=True)
def _one_thread():
    torch.set_num_threads(1)


@pytest.fixture(scope="session")
def studio(tmp_path_factory) -> Studio:
    """Shards of 6 + 3 takes, the layer of settings that makes everything small, and a folder of runs."""
    folder = tmp_path_factory.mktemp("studio")
    shards = synthesize(folder / "shards", takes=6, held_out=3, frames=34, size=32, workers=1)
    fit_autoencoder(shards)
    (folder / "small.yaml").write_text(LAYER.format(folder=folder))
    return Studio(folder)


@pytest.fixture(scope="session")
def identity(studio):
    """The run of phase 1 that every phase 2 of these tests starts from, tested and sampled."""
    return studio.run("fit", *studio.identity, "--run.evaluate=true")
