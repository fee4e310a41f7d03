"""`hallo3 evaluate --real A --fake B`: what a user sees."""

import json
import os
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch

from datamodules.video.video_file import VideoFile, write_mp4
from hallo3_lightning import cli
from hallo3_lightning.backbones.published import NOT_A_SCORE
from hallo3_lightning.backbones.weight_files import ARCFACE, SCRFD, SYNCNET
from tests.backbones.graphs import write_detector, write_embedder
from tests.backbones.test_syncnet import averaging, talk
from tests.evaluation.videos import FRAMES, folder, protocol, take

pytestmark = pytest.mark.filterwarnings("ignore:.*is not the published")

PIXELS = ("sharpness/laplacian", "colour_drift/mean_rgb", "temporal_jitter/second_difference")


@pytest.fixture(scope="module")
def sets(tmp_path_factory) -> tuple[Path, Path]:
    """Real and fake: three clips each, of other people."""
    place = tmp_path_factory.mktemp("sets")
    return folder(place / "real", range(3)), folder(place / "fake", range(3, 6))


@pytest.fixture(scope="module")
def pair(tmp_path_factory) -> tuple[Path, Path]:
    """Real and fake: one clip each."""
    place = tmp_path_factory.mktemp("pair")
    return folder(place / "real", range(1), frames=4), folder(place / "fake", range(1, 2), frames=4)


def evaluate(real: Path, fake: Path, out: Path, *more: str) -> int:
    return cli.main(["evaluate", "--real", str(real), "--fake", str(fake), "--out", str(out), *more])


def result(out: Path) -> dict:
    return json.loads((out / "metrics.json").read_text())


def rows(out: Path) -> list[dict]:
    return [json.loads(line) for line in (out / "rows.jsonl").read_text().splitlines()]


def test_without_weights_it_scores_what_needs_none_and_says_what_each_file_would_add(pair, tmp_path, capsys):
    assert evaluate(*pair, tmp_path / "out", "--protocol", "hallo3-v1") == 0
    found, table = result(tmp_path / "out"), (tmp_path / "out/table.md").read_text()
    assert set(PIXELS) < set(found["metrics"])
    assert found["metrics"]["sharpness/laplacian"]["n"] == 1
    assert found["not_scored"]["fid/pytorch_fid"].startswith("needs pt_inception")
    assert found["missing_files"]["syncnet_v2.model"]["would_add"][:2] == ["sync_c/joonson", "sync_d/joonson"]
    assert "stamp" not in found
    assert found["protocol"]["hash"] in table
    assert found["protocol"]["hash"] in capsys.readouterr().out
    told = set(found["metrics"]) | set(found["not_scored"])
    assert told == set(found["protocol"]["metrics"])
    of_clips = [row for row in rows(tmp_path / "out") if row.get("metric") == "sharpness/laplacian"]
    assert sorted((row["source"], row["clip"]) for row in of_clips) == sorted(
        (source, f"clip-{i}") for source in ("real", "generated") for i in range(1)
    )
    precomputed = found["metrics"]["efid/precomputed"]
    assert precomputed["value"] is None
    assert precomputed["statuses"] == {"no expression.npy beside the video": 1}


@pytest.mark.parametrize(
    "metrics",
    [("fid/pytorch_fid",), ("sync_c/valid", "identity_similarity/arcface"), ("efid/deep3d64",)],
    ids=lambda names: names[0],
)
def test_where_every_metric_lacks_a_file_each_is_told_and_nothing_is_looked_at(metrics, pair, tmp_path):
    """Even where a folder has the name of a weight file."""
    (tmp_path / "weights" / SYNCNET.name).mkdir(parents=True)
    file = protocol(tmp_path / "p.yaml", *metrics)
    given = ("--protocol", file, "--weights-dir", str(tmp_path / "weights"))
    assert evaluate(*pair, tmp_path / "out", *given) == 0
    found = result(tmp_path / "out")
    assert found["metrics"] == {}
    assert set(found["not_scored"]) == set(metrics)
    assert all(reason.startswith("needs ") for reason in found["not_scored"].values())
    table = (tmp_path / "out/table.md").read_text()
    assert "1 clip of fake against 1 clip of real" in table
    assert all(name in table for name in metrics)
    assert not list((tmp_path / "out/features").rglob("*.safetensors"))


def test_long_names_are_scored_and_what_is_no_file_is_counted(pair, tmp_path):
    long = "n" * 240
    for side, given in zip(("real", "fake"), pair, strict=True):
        (tmp_path / side).mkdir()
        shutil.copy(given / "clip-0.mp4", tmp_path / side / f"{long}.mp4")
        for name in ("gone", "pipe"):
            shutil.copy(given / "clip-0.mp4", tmp_path / side / f"{name}.mp4")
    for name in ("gone", "pipe"):
        (tmp_path / "fake" / f"{name}.mp4").unlink()
    (tmp_path / "fake/gone.mp4").symlink_to("nowhere.mp4")
    os.mkfifo(tmp_path / "fake/pipe.mp4")
    file = protocol(tmp_path / "p.yaml", "sharpness/laplacian")
    assert evaluate(tmp_path / "real", tmp_path / "fake", tmp_path / "out", "--protocol", file) == 1
    told = result(tmp_path / "out")["metrics"]["sharpness/laplacian"]
    assert told["statuses"] == {"unreadable video: not a regular file": 2}
    assert (told["n"], told["of"], told["real"]["n"]) == (1, 3, 3)
    assert {row["clip"] for row in rows(tmp_path / "out") if row.get("status") == "scored"} == {long, "gone", "pipe"}


def test_a_folder_against_itself_on_invented_weights_is_no_distance_and_stamped(sets, tmp_path):
    metrics = ("fid/pytorch_fid", "fvd/disco", "kvd/disco", *PIXELS)
    file = protocol(tmp_path / "p.yaml", *metrics, frames=10)
    (tmp_path / "real").mkdir()
    for path in sorted(sets[0].glob("*.mp4"))[:2]:
        shutil.copy(path, tmp_path / "real")
    assert evaluate(tmp_path / "real", tmp_path / "real", tmp_path / "same", "--protocol", file, "--invented", "2") == 0
    found = result(tmp_path / "same")
    assert found["metrics"]["fid/pytorch_fid"]["value"] == pytest.approx(0, abs=1e-6)
    assert found["metrics"]["fvd/disco"]["value"] == pytest.approx(0, abs=1e-6)
    assert found["metrics"]["fid/pytorch_fid"]["real"]["value"] > 1  # halves of the real clips are of other people
    assert all(told["stamp"] == NOT_A_SCORE for told in [found, *found["metrics"].values(), *rows(tmp_path / "same")])
    table = (tmp_path / "same/table.md").read_text()
    assert all(NOT_A_SCORE in line for line in table.splitlines() if line.startswith(("| FID", "| FVD", "| Sharp")))
    assert (tmp_path / "same/clips.png").stat().st_size > 1000


def test_sound_that_comes_late_moves_the_offset_by_as_much_and_other_bytes_are_told(tmp_path, recwarn):
    """SyncNet's weights make brightness and loudness comparable. 49 frames: too few for the reference."""
    torch.save(averaging().state_dict(), tmp_path / SYNCNET.name)
    loudness = 14.5 + np.convolve(np.random.default_rng(5).uniform(-4, 4, 65), np.ones(5) / 3, mode="valid")
    frames, sound = talk(loudness)
    late = {"real": -3, "fake": 4}
    for side, frames_late in late.items():
        (tmp_path / side).mkdir()
        heard = sound[(6 - frames_late) * 640 : (55 - frames_late) * 640]
        write_mp4(tmp_path / side / "clip.mp4", frames[6:55], heard)
        box = {"video": "clip.mp4", "faces": [{"box": [30, 15, 50, 37]}]}
        (tmp_path / side / "faces.jsonl").write_text(json.dumps(box) + "\n")
    file = protocol(tmp_path / "p.yaml", "sync_offset/valid", "sync_c/valid", "sync_c/joonson")
    given = ("--protocol", file, "--weights-dir", str(tmp_path))
    assert evaluate(tmp_path / "real", tmp_path / "fake", tmp_path / "out", *given) == 0
    told = {(row["metric"], row["source"]): row for row in rows(tmp_path / "out") if "metric" in row}
    assert told["sync_offset/valid", "real"]["value"] == -late["real"]
    assert told["sync_offset/valid", "generated"]["value"] == -late["fake"]
    assert told["sync_c/valid", "generated"]["used"] == 49
    reference = told["sync_c/joonson", "generated"]
    assert reference["value"] is None
    assert reference["status"].startswith("face too short or small for the reference")
    assert any("is not the published syncnet_v2.model" in str(warning.message) for warning in recwarn)
    assert "weights syncnet: " in (tmp_path / "out/table.md").read_text()


def test_what_cannot_be_scored_is_counted(tmp_path):
    """A torn video, one without sound, and one that is shorter than its pair."""
    real, fake = folder(tmp_path / "real", range(4)), folder(tmp_path / "fake", range(4, 8))
    torn = (fake / "clip-0.mp4").read_bytes()
    (fake / "clip-0.mp4").write_bytes(torn[: len(torn) // 3])
    write_mp4(fake / "clip-1.mp4", take(5)[0])
    write_mp4(fake / "clip-2.mp4", take(6, FRAMES - 8)[0], take(6, FRAMES - 8)[1])
    for side in (real, fake):
        write_mp4(side / "clip-3.mp4", take(7)[0])
    (real / "spare.mp4").write_bytes((real / "clip-0.mp4").read_bytes())
    file = protocol(tmp_path / "p.yaml", "sync_c/valid", "sharpness/laplacian")
    assert evaluate(real, fake, tmp_path / "out", "--protocol", file, "--invented", "1") == 1
    told = {(row["metric"], row["source"], row["clip"]): row for row in rows(tmp_path / "out") if "metric" in row}
    sync = {i: told["sync_c/valid", "generated", f"clip-{i}"] for i in range(4)}
    assert sync[0]["status"].startswith("unreadable video: ")
    assert sync[3]["status"] == "no sound"
    assert sync[1]["status"] == sync[2]["status"] == "scored"
    assert told["sharpness/laplacian", "real", "clip-2"]["frames"] == FRAMES - 8
    found = result(tmp_path / "out")
    assert found["metrics"]["sync_c/valid"]["n"] == 2
    assert sum(found["metrics"]["sync_c/valid"]["statuses"].values()) == 2
    assert [count for note, count in found["notes"].items() if "no sound of its own" in note] == [1]
    assert [count for note, count in found["notes"].items() if note.startswith("real: longer than")] == [1]
    assert [count for note, count in found["notes"].items() if "no clip of that name" in note] == [1]


def test_it_goes_on_from_what_is_kept_and_ends_alike(sets, tmp_path):
    file = protocol(tmp_path / "p.yaml", *PIXELS)
    assert evaluate(*sets, tmp_path / "out", "--protocol", file) == 0
    whole = (tmp_path / "out/metrics.json").read_bytes(), (tmp_path / "out/rows.jsonl").read_bytes()
    kept = sorted((tmp_path / "out/features/fake").iterdir())
    kept[0].unlink()
    kept[1].write_bytes(kept[1].read_bytes()[:100])
    (kept[2].with_suffix(".partial")).write_bytes(b"half")
    before = kept[2].stat().st_mtime_ns
    assert evaluate(*sets, tmp_path / "out", "--protocol", file) == 0
    assert ((tmp_path / "out/metrics.json").read_bytes(), (tmp_path / "out/rows.jsonl").read_bytes()) == whole
    assert kept[2].stat().st_mtime_ns == before
    assert not list((tmp_path / "out").rglob("*.partial"))


def test_each_clip_is_decoded_once_whatever_the_number_of_metrics(sets, tmp_path, monkeypatch):
    decoded = []
    frames = VideoFile.frames
    monkeypatch.setattr(VideoFile, "frames", lambda self, *part: decoded.append(self.source) or frames(self, *part))
    file = protocol(tmp_path / "p.yaml", "lip_distance/five_points", *PIXELS)
    assert evaluate(*sets, tmp_path / "out", "--protocol", file, "--invented", "1") == 0
    assert len(decoded) == len(set(decoded)) == 6
    more = protocol(tmp_path / "p.yaml", *PIXELS)
    assert evaluate(*sets, tmp_path / "out", "--protocol", more) == 0
    assert len(decoded) == 6


def test_folders_with_no_common_name_are_compared_as_sets_alone(sets, tmp_path, capsys):
    other = folder(tmp_path / "other", range(2))
    for path in list(other.iterdir()):
        path.rename(path.with_name(f"new-{path.name}"))
    file = protocol(tmp_path / "p.yaml", "efid/precomputed", "lip_distance/five_points", "sharpness/laplacian")
    assert evaluate(sets[0], other, tmp_path / "out", "--protocol", file) == 2
    assert "no clip of the same name ('clip-0' of 3 and 'new-clip-0' of 2)" in capsys.readouterr().err
    rng = np.random.default_rng(0)
    for path in [*sets[0].iterdir(), *other.iterdir()]:
        np.save(path.with_name(f"{path.stem}.expression.npy"), rng.normal(size=(FRAMES, 5)))
    assert evaluate(sets[0], other, tmp_path / "out", "--protocol", file, "--unpaired", "--invented", "0") == 0
    found = result(tmp_path / "out")
    assert found["metrics"]["efid/precomputed"]["value"] > 0
    assert found["metrics"]["efid/precomputed"]["n_real"] == 3
    assert "compared as sets" in found["not_scored"]["lip_distance/five_points"]


def test_mistakes(sets, tmp_path, capsys):
    real, fake = sets
    (tmp_path / "empty").mkdir()
    bad = tmp_path / "bad.yaml"

    def said(*arguments: str) -> str:
        assert evaluate(*arguments[:2], tmp_path / "out", *arguments[2:]) == 2
        return capsys.readouterr().err

    assert "did you mean 'hallo3-v1'?" in said(real, fake, "--protocol", "hallo3-v2")
    assert "has no .mp4" in said(real, tmp_path / "empty")
    assert "is no folder" in said(tmp_path / "nowhere", fake)
    assert "cannot be made a folder to write to (File exists)" in said(real, fake, "--out", str(real / "clip-0.mp4"))
    protocol(bad, "fid/pytorch_fud")
    assert "did you mean 'pytorch_fid'?" in said(real, fake, "--protocol", str(bad))
    protocol(bad, "fidd/pytorch_fid")
    assert "did you mean 'fid'?" in said(real, fake, "--protocol", str(bad))
    bad.write_text("id: x\nmetric: []\n")
    assert "did you mean 'metrics'?" in said(real, fake, "--protocol", str(bad))
    assert "give one of the two" in said(real, fake, "--invented", "1", "--weights-dir", str(tmp_path))


def test_a_weight_file_of_another_network_stops_it(sets, tmp_path, capsys):
    torch.save({"weight": torch.zeros(2)}, tmp_path / "syncnet_v2.model")
    file = protocol(tmp_path / "p.yaml", "sync_c/valid")
    for side in sets:
        (side / "faces.jsonl").write_text('{"video": "clip-0.mp4", "faces": [{"box": [8, 8, 56, 56]}]}\n')
    try:
        assert evaluate(*sets, tmp_path / "out", "--protocol", file, "--weights-dir", str(tmp_path)) == 2
    finally:
        for side in sets:
            (side / "faces.jsonl").unlink()
    assert "syncnet_v2.model is of another network" in capsys.readouterr().err


def test_faces_and_identities_come_from_detector_files(sets, tmp_path):
    """Networks of the files' form: the detector fires on bright places, the embedder gives the mean of colours."""
    write_detector(tmp_path / "weights" / SCRFD.name, size=64)
    write_embedder(tmp_path / "weights" / ARCFACE.name)
    file = protocol(tmp_path / "p.yaml", "identity_similarity/arcface", "lip_distance/five_points", frames=4)
    given = ("--protocol", file, "--weights-dir", str(tmp_path / "weights"))
    assert evaluate(sets[0], sets[0], tmp_path / "out", *given) == 0
    found = result(tmp_path / "out")
    assert found["metrics"]["identity_similarity/arcface"]["n"] > 0
    assert found["metrics"]["identity_similarity/arcface"]["value"] > 0.9
    assert found["metrics"]["lip_distance/five_points"]["value"] == pytest.approx(0, abs=1e-6)
    assert found["weights"]["arcface"]["state"] != "missing"
