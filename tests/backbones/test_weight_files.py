"""Which weight files are there, missing, or not the ones meant; and `hallo3 doctor`, which says so."""

import hashlib
import json
import re
import warnings
from dataclasses import replace

import pytest

from hallo3_lightning import cli
from hallo3_lightning.backbones import weight_files
from hallo3_lightning.backbones.weight_files import PLACES, REGISTRY, SCRFD, weights_dir
from hallo3_lightning.errors import UsageError

PAYLOAD = b"seventeen bytes.."
TINY = replace(SCRFD, num_bytes=len(PAYLOAD), sha256=hashlib.sha256(PAYLOAD).hexdigest())


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("name", [SCRFD.name, *SCRFD.also_named])
def test_found_wherever_it_is_published(tmp_path, place, name):
    (tmp_path / place).mkdir(parents=True, exist_ok=True)
    (tmp_path / place / name).write_bytes(PAYLOAD)
    assert TINY.find(tmp_path) == tmp_path / place / name
    assert TINY.state(tmp_path) == "present"


def test_another_file_of_that_name_is_noticed(tmp_path):
    assert TINY.state(tmp_path) == TINY.state(None) == "missing"
    (tmp_path / TINY.name).write_bytes(PAYLOAD + b"!")
    assert TINY.state(tmp_path) == "18 bytes, not 17"
    (tmp_path / TINY.name).write_bytes(PAYLOAD[::-1])
    assert TINY.state(tmp_path) == "sha256 differs"
    assert replace(TINY, sha256=None).state(tmp_path) == "present, sha256 not known"


def test_a_missing_file_is_named_with_all_one_needs_to_get_it(tmp_path):
    with pytest.raises(UsageError) as raised:
        SCRFD.required(tmp_path, "--faces")
    for told in (SCRFD.name, "16,923,827 bytes", SCRFD.sha256, SCRFD.source, "--weights-dir", "hallo3 doctor"):
        assert told in str(raised.value)


def test_a_file_with_other_bytes_is_used_with_a_warning(tmp_path):
    (tmp_path / TINY.name).write_bytes(PAYLOAD[::-1])
    with pytest.warns(UserWarning, match=f"{TINY.name} is not the published .*sha256 differs"):
        assert TINY.required(tmp_path, "--faces") == tmp_path / TINY.name
    (tmp_path / TINY.name).write_bytes(PAYLOAD)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        TINY.required(tmp_path, "--faces")


def test_the_folder_is_that_of_the_option_or_of_the_environment(tmp_path, monkeypatch):
    monkeypatch.delenv(weight_files.VARIABLE, raising=False)
    assert weights_dir() is None
    monkeypatch.setenv(weight_files.VARIABLE, str(tmp_path / "absent"))
    with pytest.raises(UsageError, match=f"{weight_files.VARIABLE} .*absent is no folder"):
        weights_dir()
    assert weights_dir(tmp_path) == tmp_path


def test_sums_are_sums():
    assert [
        file.name for file in REGISTRY.values() if file.sha256 and not re.fullmatch("[0-9a-f]{64}", file.sha256)
    ] == []


def diagnosed(capsys, *arguments: str) -> tuple[int, dict]:
    status = cli.main(["doctor", "--json", *arguments])
    return status, json.loads(capsys.readouterr().out)


def test_doctor_says_what_is_wrong(tmp_path, capsys, monkeypatch):
    monkeypatch.delenv(weight_files.VARIABLE, raising=False)
    status, found = diagnosed(capsys)
    assert status == 0
    assert found["faults"] == []
    assert {file["state"] for file in found["weights"]} == {"missing"}

    (tmp_path / SCRFD.name).write_bytes(PAYLOAD)
    status, found = diagnosed(capsys, "--weights-dir", str(tmp_path))
    assert status == 1
    assert len(found["faults"]) == 1
    assert "17 bytes, not 16,923,827" in found["faults"][0]

    status, found = diagnosed(capsys, "--for", "import-weights")
    assert status == 1
    assert found["faults"] == ["CogVideoX-5b-I2V/transformer is missing"]
    (tmp_path / "CogVideoX-5b-I2V" / "transformer").mkdir(parents=True)
    (tmp_path / "CogVideoX-5b-I2V" / "transformer" / "config.json").touch()
    assert diagnosed(capsys, "--for", "import-weights", "--weights-dir", str(tmp_path))[0] == 0


def test_doctor_prints_a_source_for_each_missing_file(capsys):
    assert cli.main(["doctor", "--for", "prepare"]) == 1
    printed = capsys.readouterr().out
    for file in REGISTRY.values():
        assert (f"{file.licence}): {file.source}\n" in printed) == ("prepare" in file.needed_by)
    assert cli.main(["doctor", "--for", "prepair"]) == 2
    assert "did you mean 'prepare'" in capsys.readouterr().err
