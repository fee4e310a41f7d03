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

    @property
    def manifest(self) -> dict[str, Any]:
        return json.loads((self.folder / "manifest.json").read_text())

    @property
    def config(self) -> dict[str, Any]:
        return self.manifest["config"]

    def tensors(self, name: str) -> dict[str, Tensor]:
        """All tensors of one file; the test is skipped where the set lacks that file."""
        path = self.folder / f"{name}.safetensors"
        if not path.is_file():
            pytest.skip(f"{path.name} is not in {self.folder}; name a whole set with HALLO3_GOLDENS")
        return load_file(path)


@pytest.fixture(scope="session")
def goldens() -> Goldens:
    """From the folder named by HALLO3_GOLDENS, which holds `hallo3/`; else the slim set that comes with the project."""
    root = Path(os.environ.get("HALLO3_GOLDENS", Path(__file__).parent / "slim"))
    return Goldens(root / "hallo3")
