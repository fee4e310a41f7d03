"""Checkpoints of SwissArmyTransformer: damaged, hostile, old, or split. The published names are held by tests/golden."""

import os
import pickle
from pathlib import Path

import pytest
import torch

from hallo3_lightning.errors import UsageError
from hallo3_lightning.weights import sat
from hallo3_lightning.weights.sat import Remapped
from tests.weights.test_folders import refused


@pytest.mark.parametrize("zipped", [True, False])
@pytest.mark.parametrize("part", [0, 0.1, 0.5, 0.99])
def test_a_cut_sat_file_is_refused(tmp_path, capsys, part, zipped):
    file = tmp_path / "mp_rank_00_model_states.pt"
    torch.save({"module": {"model.a": torch.zeros(1000)}}, file, _use_new_zipfile_serialization=zipped)
    os.truncate(file, int(part * file.stat().st_size))
    refused(capsys, tmp_path, file, "damaged, cut short, or no PyTorch checkpoint")


def resident(file: Path) -> int:
    """Bytes of a file that are mapped into this process and in memory."""
    found, ours = 0, False
    for line in Path("/proc/self/smaps").read_text().splitlines():
        if "-" in line.split()[0]:
            ours = line.endswith(str(file))
        elif ours and line.startswith("Rss:"):
            found += 1024 * int(line.split()[1])
    return found


@pytest.mark.skipif(not Path("/proc/self/smaps").is_file(), reason="asks Linux what is in memory")
def test_what_was_read_leaves_memory(tmp_path):
    """16 tensors of 1 MB, mapped anew every 4 MB: no more than those and the one just asked for stay."""
    file, megabyte = tmp_path / "model.pt", 2**20
    torch.save({"module": {str(i): torch.full((megabyte // 4,), i) for i in range(16)}}, file)
    read_of, seen = Remapped(file, limit=4 * megabyte), []
    for i in range(16):
        assert read_of(str(i)).sum() == i * megabyte // 4
        seen.append(resident(file))
    assert megabyte <= max(seen) <= 6 * megabyte


class Payload:
    """Runs a command when it is unpickled."""

    def __init__(self, file: Path) -> None:
        self.file = file

    def __reduce__(self):
        return os.system, (f"touch '{self.file}'",)


def test_code_in_a_pickle_is_refused_and_does_not_run(tmp_path, capsys):
    file, trace = tmp_path / "mp_rank_00_model_states.pt", tmp_path / "it_ran"
    torch.save({"module": {"model.a": torch.zeros(2)}, "extra": Payload(trace)}, file)
    refused(capsys, tmp_path, file, "holds more than tensors (posix.system), which could run code when it is read")
    assert not trace.exists()


def test_a_file_without_weights_is_refused(tmp_path, capsys):
    torch.save([1, 2], tmp_path / "model.pt")
    refused(capsys, tmp_path, tmp_path / "model.pt", "no 'module' with named tensors")


@pytest.mark.parametrize("zipped", [True, False])
def test_old_checkpoints_are_read_too(tmp_path, zipped):
    file, tensors = tmp_path / "model.pt", {"model.a": torch.randn(3, 2), "model.b": torch.randn(5)}
    torch.save({"module": tensors}, file, _use_new_zipfile_serialization=zipped)
    source = sat.opened(file)
    assert {name: tuple(value.shape) for name, value in tensors.items()} == source.shapes
    assert all(torch.equal(source.read(name), value) for name, value in tensors.items())


@pytest.mark.parametrize("protocol", [2, 4])
def test_code_in_other_forms_is_told_as_code(tmp_path, capsys, protocol):
    trace, content = tmp_path / "it_ran", {"module": Payload(tmp_path / "it_ran")}
    (tmp_path / "mere.pt").write_bytes(pickle.dumps(content, protocol))
    torch.save(content, tmp_path / "old.pt", _use_new_zipfile_serialization=False)
    for name in ("mere.pt", "old.pt"):
        refused(capsys, tmp_path, tmp_path / name, "holds more than tensors (posix.system)")
    assert not trace.exists()


ODD = {
    "a word": ({"model.a": "hello"}, "1 no tensors of numbers (model.a)"),
    "another mapping": ({"module": {"model.a": torch.zeros(2)}}, "1 no tensors of numbers (module)"),
    "a name that is a number": ({1: torch.zeros(2), "model.a": torch.zeros(2)}, "1 no tensors of numbers (1)"),
    "without numbers": ({"model.a": torch.zeros(2, device="meta")}, "1 no tensors of numbers (model.a)"),
    "sparse": ({"model.a": torch.ones(2).to_sparse()}, "1 no tensors of numbers (model.a)"),
    "quantised": (
        {"model.a": torch.quantize_per_tensor(torch.ones(2), 0.1, 0, torch.qint8)},
        "1 no tensors of numbers",
    ),
    "larger than what is saved": ({"model.a": torch.ones(1).expand(2**40)}, "1 no tensors of numbers (model.a)"),
}


@pytest.mark.parametrize("kind", ODD)
def test_what_is_no_tensor_of_numbers_is_listed(tmp_path, capsys, kind):
    content, told = ODD[kind]
    torch.save({"module": content}, tmp_path / "model.pt")
    refused(capsys, tmp_path, tmp_path / "model.pt", told)


@pytest.mark.parametrize("latest", [b"\xff\xfe\x00", b"a\x00b", b"a" * 5000, b"../elsewhere", b"a\x1b[31m"])
def test_a_latest_that_names_no_folder_is_refused(tmp_path, capsys, latest):
    (tmp_path / "sat").mkdir()
    (tmp_path / "sat" / "latest").write_bytes(latest)
    refused(capsys, tmp_path, tmp_path / "sat", "latest' should name a folder beside it")


def test_a_checkpoint_split_over_ranks_is_refused(tmp_path):
    for rank in (0, 1):
        (tmp_path / f"mp_rank_0{rank}_model_states.pt").touch()
    with pytest.raises(UsageError, match="split over 2 ranks"):
        sat.file_at(tmp_path)
