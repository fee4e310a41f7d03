"""The studies of pose, light and background, as they are typed for one's own videos."""

import json
import shutil

from hallo3_lightning.cli import main
from tests.evaluation.videos import protocol


def test_folders_of_videos_are_parted_by_what_is_told_of_the_true_ones(tmp_path, capsys):
    real = tmp_path / "real"
    assert main(["synthesize", str(real), "--mp4", "--takes=6", "--frames=17", "--yaw-max=1.2"]) == 0
    for arm in ("ours", "theirs"):
        shutil.copytree(real, tmp_path / arm, ignore=shutil.ignore_patterns("*.jsonl", "autoencoder"))
    file = protocol(tmp_path / "p.yaml", "sharpness/laplacian", "temporal_jitter/second_difference")
    for arm in ("ours", "theirs"):
        command = ("--real", str(real), "--fake", str(tmp_path / arm), "--out", str(tmp_path / f"scores/{arm}"))
        assert main(["evaluate", *command, "--protocol", file]) == 0
    told = {row["clip"]: row for row in map(json.loads, (real / "conditions.jsonl").read_text().splitlines())}
    assert max(row["yaw"] for row in told.values()) > 15
    capsys.readouterr()
    folders = [str(tmp_path / f"scores/{arm}") for arm in ("ours", "theirs")]
    by = ("--by", "yaw", "light", "background", "length", "--least", "2")
    assert main(["strata", *folders, *by, "--out", str(tmp_path / "out")]) == 0
    strata = json.loads((tmp_path / "out/strata.json").read_text())["strata"]
    moving = {row["clip"] for row in told.values() if row["background"] > 0}
    cells = {cell["cell"]: cell["clips"] for cell in strata["background"]["cells"]}
    assert cells.get("moving", 0) == len(moving)
    assert sum(cells.values()) == 6
    assert "6 clips count as 6 people" in (tmp_path / "out/strata.md").read_text()
    assert [cell["cell"] for cell in strata["length"]["cells"]] == ["0-2"]
    assert set(strata["yaw"]["cells"][0]["scores"]) == {"ours", "theirs"}
    assert all((tmp_path / f"out/strata-{name}.png").is_file() for name in strata)
    assert main(["strata", *folders, "--by", "weather"]) == 2
    assert "nothing is known of the weather of these clips; known are: background, length" in capsys.readouterr().err
