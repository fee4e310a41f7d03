import pytest

from hallo3_lightning.animation.animator import Animator
from tests.animation.tiny_animator import tiny_animator


@pytest.fixture(scope="package")
def animator(tmp_path_factory) -> Animator:
    return tiny_animator(tmp_path_factory.mktemp("autoencoder"))
