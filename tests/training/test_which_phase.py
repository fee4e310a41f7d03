"""The phase is read off the command line before it is parsed."""

import pytest

from hallo3_lightning.errors import UsageError
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


@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        (b"phase: caf\xe9", "is not text in UTF-8"),
        (b"phase: [", "is not YAML"),
        (b"phase: audio\nphase: identity", "key 'phase' is given twice"),
        (b"- phase", "holds no settings"),
    ],
)
def test_a_file_without_settings_is_refused(content, complaint, tmp_path):
    (tmp_path / "config.yaml").write_bytes(content)
    with pytest.raises(UsageError, match=complaint):
        phase_of([f"--config={tmp_path / 'config.yaml'}"])
