"""What is said of the clips beside their videos is read before anything is measured."""

import pytest

from hallo3_lightning.cli import main
from tests.evaluation.videos import folder, protocol


@pytest.mark.parametrize(
    ("raw", "sentence"),
    [
        (b'{"clip": "clip-0", "place": "caf\xe9"}', "conditions.jsonl is not text in UTF-8"),
        (b'{"clip": "clip-0", "yaw": "left"}', "conditions.jsonl, line 1: yaw is 'left'; expected a number"),
        (b'{"clip": "clip-0", "../../yaw": 3}', "is no name of a condition"),
        (b'{"clip": "stranger", "yaw": 3}', "knows none of the clips"),
    ],
)
def test_wrong_conditions_are_told_before_anything_is_measured(tmp_path, capsys, raw, sentence):
    real, fake = (folder(tmp_path / side, range(1), frames=2) for side in ("real", "fake"))
    (real / "conditions.jsonl").write_bytes(raw)
    file, out = protocol(tmp_path / "p.yaml", "sharpness/laplacian"), tmp_path / "out"
    assert main(["evaluate", "--real", str(real), "--fake", str(fake), "--protocol", file, "--out", str(out)]) == 2
    assert sentence in capsys.readouterr().err
    assert not list(out.rglob("*.safetensors"))
