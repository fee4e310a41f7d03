"""What `hallo3 app` refuses, in one sentence each, before it serves anything."""

import socket
import sys
from pathlib import Path

import pytest

from hallo3_lightning.cli import main


def complaint(capsys, *typed: object) -> str:
    assert main(["app", "--no-browser", *map(str, typed)]) == 2
    lines = capsys.readouterr().err.strip().splitlines()
    assert len(lines) == 1
    return lines[0]


@pytest.fixture
def weights(tmp_path) -> Path:
    return tmp_path


@pytest.mark.parametrize(
    ("typed", "sentence"),
    [
        (("--runs", "absent"), "there is no run of an audio phase with a checkpoint in --runs absent"),
        (("--weights", "absent"), "--weights absent is not there"),
    ],
)
def test_mistakes(capsys, tmp_path, monkeypatch, typed, sentence):
    monkeypatch.chdir(tmp_path)
    assert sentence in complaint(capsys, *typed)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("typed", "sentence"),
    [
        (("--port", 70_000), "--port is 70000; expected 1 to 65535"),
        (("--host", "203.0.113.1"), "203.0.113.1 cannot be served (Cannot assign requested address); give"),
    ],
)
def test_addresses_that_cannot_be_served(capsys, weights, typed, sentence):
    assert sentence in complaint(capsys, "--runs", weights, "--weights", weights, *typed)


def test_a_port_that_is_taken(capsys, weights):
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        said = complaint(capsys, "--runs", weights, "--weights", weights, "--port", port)
    assert f"127.0.0.1:{port} cannot be served (Address already in use" in said


def test_a_missing_extra_is_named(capsys, weights, monkeypatch):
    monkeypatch.setitem(sys.modules, "gradio", None)  # as Python itself marks what must not be imported
    assert "pip install '.[app]'" in complaint(capsys, "--runs", weights, "--weights", weights)
