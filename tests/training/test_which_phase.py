"""The phase is read off the command line before it is parsed."""

import pytest

from hallo3_lightning.training.which_phase import DEFAULT_PHASE, phase_of


@pytest.mark.parametrize(
    ("arguments", "phase"),
    [
        ([], DEFAULT_PHASE),
        (["--config", "identity"], "identity"),
        (["--config=identity"], "identity"),
        (["-c", "identity", "--config=plain"], "identity"),
        (["--config=identity", "--config", "audio"], "audio"),
        (["--config=identity", "--phase=audio"], "audio"),
        (["--phase", "identity", "--config=audio"], "audio"),
    ],
)
def test_the_last_word_counts(arguments, phase, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name, text in {"identity": "phase: identity", "audio": "phase: audio", "plain": "trainer: {}"}.items():
        (tmp_path / name).write_text(text)
    assert phase_of(["fit", *arguments]) == phase
