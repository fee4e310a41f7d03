"""What a grid needs and does not make is missed before its first run."""

from pathlib import Path

import pytest

from hallo3_lightning.ablation.inputs import absent, refuse_absent
from hallo3_lightning.ablation.jobs import Job
from hallo3_lightning.ablation.launch import ablate
from hallo3_lightning.ablation.meaning import resolve
from hallo3_lightning.ablation.runs import RunFolder, Status
from hallo3_lightning.errors import UsageError

EXPERIMENTS = Path(__file__).parents[2] / "experiments"


@pytest.fixture
def jobs(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    mixed = {"data.mixture": [{"shards": "data/one"}, {"shards": "s3://bucket/two"}], "model.init_from": "there.yaml"}
    tiny = resolve([EXPERIMENTS / "tiny/identity.yaml"], mixed)
    full = resolve([EXPERIMENTS / "full/identity.yaml"], {})
    return [Job("tiny", RunFolder(tmp_path / "tiny"), tiny), Job("full", RunFolder(tmp_path / "full"), full)]


def test_all_that_is_not_there_is_named_with_its_setting(jobs):
    assert absent(jobs) == {
        "data/tiny": "data.shards",
        "data/one": "data.mixture",
        "data/tiny/autoencoder": "model.encoders.video_folder",
        "data/full": "data.shards",
        "weights/cogvideox-5b-i2v/vae": "model.encoders.video_folder",
        "weights/t5-v1_1-xxl": "model.encoders.text_folder",
        "weights/wav2vec2-base-960h": "model.encoders.audio_folder",
        "weights/cogvideox-5b-i2v/imported": "model.init_from",
    }
    with pytest.raises(UsageError, match=r"^ways.yaml needs what is not here: data/tiny \(data.shards\), data/one"):
        refuse_absent(jobs, "ways.yaml")


def test_what_is_there_and_what_finished_runs_have_read_is_not_missed(jobs):
    for place in ("data/one", "data/tiny/autoencoder"):
        Path(place).mkdir(parents=True)
    jobs[1].folder.record(Status("finished"))
    assert absent(jobs) == {}
    refuse_absent(jobs, "ways.yaml")


def test_a_launch_without_data_starts_nothing(tmp_path, monkeypatch):
    monkeypatch.chdir(EXPERIMENTS.parent)
    with pytest.raises(UsageError, match=r"guidance.yaml needs what is not here: .*weights/t5-v1_1-xxl"):
        ablate(EXPERIMENTS / "grids/full/guidance.yaml", root=tmp_path / "runs")
    assert not (tmp_path / "runs").exists()
