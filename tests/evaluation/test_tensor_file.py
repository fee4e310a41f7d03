"""Tensors on disk with a record: whole, or not there."""

import errno
import json
import os
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from hallo3_lightning.evaluation.tensor_file import RECORD, record_of, tensors_of, write

WHOLE = json.dumps({"tensors": ["a|rows"], RECORD: {"frames": 3}})


def test_what_was_written_comes_back(tmp_path):
    write(tmp_path / "below/f.safetensors", {"a|rows": torch.arange(3.0)}, {"frames": 3, "name": "ü"})
    assert record_of(tmp_path / "below/f.safetensors") == {"frames": 3, "name": "ü"}
    assert tensors_of(tmp_path / "below/f.safetensors")["a|rows"].tolist() == [0, 1, 2]
    assert [path.name for path in (tmp_path / "below").iterdir()] == ["f.safetensors"]
    assert record_of(tmp_path / "nothing") is None


@pytest.mark.parametrize(
    ("names", "metadata"),
    [
        (["a|rows"], None),
        (["a|rows"], {"other": WHOLE}),
        (["a|rows"], {RECORD: "{"}),
        (["a|rows"], {RECORD: "[" * 100_000}),
        (["a|rows"], {RECORD: "[]"}),
        (["a|rows"], {RECORD: json.dumps({"frames": 3})}),  # of an earlier version
        (["a|rows"], {RECORD: WHOLE.replace('{"frames": 3}', "[1]")}),
        (["a|other"], {RECORD: WHOLE}),
        ([], {RECORD: WHOLE}),
    ],
)
def test_a_file_that_is_not_whole_counts_as_none(names, metadata, tmp_path):
    save_file({"a|rows": torch.zeros(2)}, tmp_path / "f", {RECORD: WHOLE})
    assert record_of(tmp_path / "f") == {"frames": 3}
    save_file({name: torch.zeros(2) for name in names}, tmp_path / "f", metadata)
    assert record_of(tmp_path / "f") is None


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="a device that is always full")
def test_a_full_disk_says_so(tmp_path):
    """As an OSError with its number, of which the command line makes one sentence."""
    (tmp_path / f"f-{os.getpid()}.partial").symlink_to("/dev/full")
    with pytest.raises(OSError, match="No space left") as told:
        write(tmp_path / "f.safetensors", {"a": torch.zeros(9999)}, {})
    assert told.value.errno == errno.ENOSPC
    assert not (tmp_path / "f.safetensors").exists()
