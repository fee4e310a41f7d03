"""Where the goldens are: numbers recorded from the published network with random weights at tiny sizes."""

import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from safetensors.torch import load_file
from torch import Tensor


@dataclass(frozen=True)
class Goldens:
    """A folder of recorded tensors and the manifest of their sizes."""

    folder: Path
    whole: bool

    @property
    def manifest(self) -> dict[str, Any]:
        return json.loads((self.folder / "manifest.json").read_text())

    @property
    def config(self) -> dict[str, Any]:
        return self.manifest["config"]

    def tensors(self, name: str) -> dict[str, Tensor]:
        """All tensors of one file; where it is absent, the slim set skips the test and a named one fails it."""
        path = self.folder / f"{name}.safetensors"
        if not path.is_file() and self.whole:
            pytest.fail(f"{path} is absent: HALLO3_GOLDENS must name a whole set; unset it to run the slim one")
        if not path.is_file():
            pytest.skip(f"{path.name} is not in {self.folder}; name a whole set with HALLO3_GOLDENS")
        return load_file(path)


SETS = {"slim": Goldens(Path(__file__).parent / "slim" / "hallo3", whole=False)}
if "HALLO3_GOLDENS" in os.environ:
    SETS["named"] = Goldens(Path(os.environ["HALLO3_GOLDENS"]) / "hallo3", whole=True)


@pytest.fixture(scope="session", params=SETS)
def goldens(request) -> Goldens:
    """The slim set that comes with the project, and that in the folder named by HALLO3_GOLDENS, which holds `hallo3/`."""
    return SETS[request.param]
