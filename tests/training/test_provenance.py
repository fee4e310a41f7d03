"""Where a run's numbers come from is written once, and each time that it goes on is added."""

import json
import subprocess

from hallo3_lightning.ablation.meaning import fingerprint, resolve
from hallo3_lightning.ablation.runs import RunFolder
from hallo3_lightning.training import provenance
from tests.behaviour.studio import ROOT, TINY


def test_a_resumed_run_keeps_where_it_started(tmp_path):
    config = resolve([TINY / "identity.yaml"], {"data.shards": str(tmp_path)})
    (tmp_path / "dataset.json").write_text('{"fingerprint": "abc"}')
    run = RunFolder(tmp_path / "run")
    provenance.write(run, config)
    first = json.loads((run.path / "provenance.json").read_text())
    assert first["fingerprint"] == fingerprint(config)
    assert first["data"] == {"fingerprint": "abc"}
    assert first["versions"].keys() >= {"torch", "python", "hallo3_lightning"}
    head = subprocess.run(["git", "-C", str(ROOT), "rev-parse", "HEAD"], capture_output=True, text=True)
    assert first["code"].get("commit") == (head.stdout.strip() or None if head.returncode == 0 else None)
    for times in (1, 2):
        provenance.write(run, config)
        again = json.loads((run.path / "provenance.json").read_text())
        assert len(again.pop("resumed")) == times
        assert again == first
