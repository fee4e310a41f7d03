"""`hallo3 evaluate RUN`: what a user sees."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import yaml

from datamodules.video.video_file import VideoFile
from hallo3_lightning.ablation.runs import RunFolder
from hallo3_lightning.cli import main
from hallo3_lightning.evaluation.rows_file import read
from tests.behaviour.studio import ROOT, read_json
from tests.evaluation.videos import protocol

PIXELS = ("sharpness/laplacian", "colour_drift/mean_rgb")
CLIPS = 3
STEPS = 12


@pytest.fixture(scope="module")
def recipe(tmp_path_factory) -> str:
    """A protocol of two windows a clip, which asks for more steps than the run's own."""
    file = protocol(tmp_path_factory.mktemp("protocols") / "p.yaml", *PIXELS, frames=30)
    Path(file).write_text(Path(file).read_text() + f"generation: {{seeds: [5], steps: {STEPS}, guidance: null}}\n")
    return file


@pytest.fixture(scope="module")
def evaluated(identity, recipe) -> Path:
    """What `hallo3 evaluate RUN` left."""
    assert main(["evaluate", str(identity.path), "--protocol", recipe]) == 0
    return identity.path / "evaluation/test"


def left(out: Path) -> dict[str, bytes]:
    """Everything that must not depend on who made it."""
    files = [out / "rows.jsonl", *sorted(out.glob("fake/*")), *sorted(out.glob("real/*")), *out.glob("clips/*.safe*")]
    return {path.relative_to(out).as_posix(): path.read_bytes() for path in files}


def test_its_clips_are_scored_as_videos_and_against_the_truth(evaluated, identity):
    found = read_json(evaluated / "metrics.json")
    assert {name for name in found["metrics"] if not name.startswith("truth/")} == set(PIXELS)
    assert {"truth/psnr", "truth/seam", "truth/identity_distance"} <= found["metrics"].keys()
    told = found["metrics"]["truth/psnr"]
    assert (told["n"], told["unit"]) == (CLIPS, "dB")
    assert told["controls"]["reconstruction"]["value"] > told["value"]
    assert found["generation"] | {"step": 2, "frames": 30, "seed": 5, "sampling_steps": STEPS} == found["generation"]
    rows = read(evaluated)
    assert len({*rows.identities.values()}) == CLIPS, "each take is of a person of its own"
    assert {*read(identity.path).identities.values()} == {*read(identity.path).clips}, "named by its take"
    assert {source for source, name in rows.metrics if name == "truth/psnr"} == {"generated", "reconstruction"}
    assert {source for source, name in rows.metrics if name == PIXELS[0]} == {"generated", "real"}
    assert rows.metrics["generated", "truth/psnr"].scores.keys() == rows.metrics["real", PIXELS[0]].scores.keys()
    assert {name: len(clips) for name, clips in rows.conditions.items()} == dict.fromkeys(
        ("length", "yaw", "light", "background"), CLIPS
    )
    table = (evaluated / "table.md").read_text()
    assert "| truth/psnr |" in table
    assert f"sampling_steps {STEPS}" in table
    assert (evaluated / "clips.png").stat().st_size > 1000
    assert (evaluated / "curves.png").stat().st_size > 1000


def test_videos_hold_exactly_what_predict_gives(studio, identity, tmp_path):
    """With the run's own settings, and the same pixels whether clips come alone or in batches."""
    file = protocol(tmp_path / "p.yaml", *PIXELS)
    assert main(["evaluate", str(identity.path), "--protocol", file, "--out", str(tmp_path / "out")]) == 0
    assert main(["predict", *studio.identity]) == 0
    predicted = sorted((identity.path / "predictions").glob("*.npy"))
    videos = sorted((tmp_path / "out/fake").glob("*.mp4"))
    assert [path.stem for path in videos] == [path.stem for path in predicted]
    for video, clip in zip(videos, predicted, strict=True):
        frames, wanted = VideoFile(video).frames(), np.load(clip)
        assert frames.shape == wanted.shape
        assert np.abs(frames.astype(int) - wanted).max() <= 1
        assert VideoFile(video).sound().shape == (len(wanted) * 640,)
    tested = identity.metrics()["metrics"]["psnr"]["value"]
    assert read_json(tmp_path / "out/metrics.json")["metrics"]["truth/psnr"]["value"] == pytest.approx(tested, abs=0.02)


def test_a_run_that_only_scores_is_evaluated_with_the_weights_it_scores(evaluated, identity, recipe, tmp_path):
    config = identity.config()
    config["model"] |= {
        "init_from": [str(identity.config_file)],
        "sampling": {**config["model"]["sampling"], "guidance": 1.5},
    }
    config["trainer"] |= {"max_steps": 0}
    config["run"] |= {"evaluate": True, "ancestors": str(identity.path.parent)}
    run = RunFolder.create(tmp_path / "guided", config)
    assert main(["evaluate", str(run.path), "--protocol", recipe]) == 0
    made = read_json(run.path / "evaluation/test/generation.json")
    assert (made["step"], made["guidance"]) == (2, 1.5)


def started(run: RunFolder, recipe: str, out: Path, **environment: str) -> "subprocess.Popen[bytes]":
    command = ["evaluate", str(run.path), "--protocol", recipe, "--out", str(out)]
    return subprocess.Popen(
        [sys.executable, "-m", "hallo3_lightning.cli", *command],
        cwd=ROOT,
        env={**os.environ, "OMP_NUM_THREADS": "1", **environment},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
    )


def test_killed_and_shared_by_two_ranks_it_ends_alike(evaluated, identity, recipe, tmp_path, monkeypatch, capsys):
    out = tmp_path / "out"
    alone = started(identity, recipe, out)
    while not list(out.glob("clips/*.safetensors")):
        assert alone.poll() is None, alone.stderr.read()  # type: ignore[union-attr]
        time.sleep(0.001)
    alone.send_signal(signal.SIGKILL)
    alone.wait()
    made = {path: path.stat().st_mtime_ns for path in out.glob("clips/*.safetensors")}
    assert 0 < len(made) < CLIPS
    assert not (out / "rows.jsonl").exists()
    second = started(identity, recipe, out, RANK="1", WORLD_SIZE="2")
    monkeypatch.setenv("RANK", "0")
    monkeypatch.setenv("WORLD_SIZE", "2")
    assert main(["evaluate", str(identity.path), "--protocol", recipe, "--out", str(out)]) == 0
    said = capsys.readouterr().out
    assert "2 held-out clips" in said  # its share, of three
    assert "3 clips to score" in said  # its share, of six: true and generated
    assert second.wait() == 0, second.stderr.read()  # type: ignore[union-attr]
    assert left(out) == left(evaluated)
    assert {path: path.stat().st_mtime_ns for path in made} == made, "a clip that was there was made again"
    assert not list(out.rglob("*.partial"))


def test_a_second_time_nothing_is_left_to_do(evaluated, identity, recipe, capsys):
    before = left(evaluated)
    assert main(["evaluate", str(identity.path), "--protocol", recipe]) == 0
    said = capsys.readouterr().out
    assert f"{CLIPS} held-out clips, {CLIPS} made before" in said
    assert f"{2 * CLIPS} clips to score, {2 * CLIPS} done before; nothing to decode" in said
    assert left(evaluated) == before


def test_a_video_that_is_not_the_one_that_was_made_is_made_again(evaluated, identity, recipe, tmp_path, capsys):
    out = tmp_path / "out"
    shutil.copytree(evaluated, out)
    first, second, _ = sorted((out / "fake").glob("*.mp4"))
    shutil.copy(first, second)
    assert main(["evaluate", str(identity.path), "--protocol", recipe, "--out", str(out)]) == 0
    assert f"{CLIPS} held-out clips, {CLIPS - 1} made before" in capsys.readouterr().out
    assert left(out) == left(evaluated)
    assert (out / "clips.png").read_bytes() == (evaluated / "clips.png").read_bytes()


def test_clips_that_were_made_otherwise_are_not_mixed(evaluated, identity, recipe, tmp_path, capsys):
    other = tmp_path / "other.yaml"
    other.write_text(Path(recipe).read_text().replace(f"steps: {STEPS}", "steps: 2"))
    assert main(["evaluate", str(identity.path), "--protocol", str(other)]) == 2
    said = capsys.readouterr().err
    assert f"sampling_steps {STEPS} there, 2 now" in said
    assert "remove that folder to generate them anew, or give another with --out" in said


def untrained(folder: Path, identity: RunFolder) -> Path:
    folder.mkdir()
    shutil.copy(identity.config_file, folder)
    return folder


def test_what_cannot_be_evaluated(identity, recipe, tmp_path, capsys):
    def said(*arguments: object) -> str:
        assert main(["evaluate", *map(str, arguments)]) == 2
        lines = capsys.readouterr().err.strip().splitlines()
        return lines[-1]

    def asking(**settings: object) -> str:
        file = tmp_path / "asking.yaml"
        file.write_text(yaml.safe_dump({**yaml.safe_load(Path(recipe).read_text()), **settings}))
        return str(file)

    run = identity.path
    assert "is not trained: it has no complete checkpoint" in said(untrained(tmp_path / "run", identity))
    for content, complaint in (
        (b"phase: caf\xe9", "config.yaml is not text in UTF-8"),
        (
            identity.config_file.read_bytes() + b"model_x: 1\n",
            f"error: settings of the run {tmp_path / 'broken'}: Option 'model_x' is not accepted",
        ),
    ):
        broken = tmp_path / "broken"
        shutil.copytree(run, broken, ignore=shutil.ignore_patterns("evaluation"), dirs_exist_ok=True)
        (broken / "config.yaml").write_bytes(content)
        assert complaint in said(broken, "--protocol", recipe)
    (tmp_path / "empty").mkdir()
    assert "is neither a run (it has no config.yaml) nor a folder of videos" in said(tmp_path / "empty")
    assert "did you mean 'tiny'?" in said(run, "--protocol", "tinny")
    too_long = said(run, "--protocol", asking(id="long", frames=40))
    assert "asks for 40 frames a clip" in too_long
    assert "has 34 frames" in too_long
    assert "one evaluation is of one seed" in said(run, "--protocol", asking(generation={"seeds": [0, 1]}))
    assert "generation has step; it may have seeds" in said(run, "--protocol", asking(generation={"step": 1}))
    assert "leave --real and --unpaired out" in said(run, "--real", tmp_path)
    assert "only one" in said(run, "--fake", tmp_path)
    assert "only one" in said()


def test_a_sample_that_cannot_be_read_is_told(identity, recipe, tmp_path):
    """Its shards lie elsewhere, with one sample broken: the others are evaluated, and it is counted."""
    run = RunFolder(tmp_path / "run")
    shutil.copytree(identity.path, run.path, ignore=shutil.ignore_patterns("evaluation", "predictions"))
    config = yaml.safe_load(run.config_file.read_text())
    shards = tmp_path / "shards"
    shutil.copytree(config["data"]["shards"], shards)
    _spoil(next((shards / "held_out").glob("*.tar")))
    for index in shards.rglob("*.wdx"):
        index.unlink()
    config["data"]["shards"] = str(shards)
    run.config_file.write_text(yaml.safe_dump(config))
    assert main(["evaluate", str(run.path), "--protocol", recipe]) == 0
    found = read_json(run.path / "evaluation/test/metrics.json")
    assert found["metrics"]["truth/psnr"]["n"] == found["metrics"][PIXELS[0]]["n"] == CLIPS - 1
    assert [note for note in found["notes"] if "was not generated: " in note]


def _spoil(shard: Path) -> None:
    """Overwrite the end of the last video's bytes, which are not at the end of the tar."""
    import tarfile

    with tarfile.open(shard) as tar:
        member = [one for one in tar.getmembers() if one.name.endswith((".npz", ".mp4", ".npy"))][-1]
    with shard.open("r+b") as file:
        file.seek(member.offset_data)
        file.write(b"\0" * min(member.size, 2000))


def test_a_folder_of_videos_alone_is_scored_by_what_needs_no_other(evaluated, tmp_path, capsys):
    file = protocol(tmp_path / "p.yaml", *PIXELS, "fid/pytorch_fid", "lip_distance/five_points")
    given = ("--protocol", file, "--invented", "0", "--out", str(tmp_path / "out"))
    assert main(["evaluate", str(evaluated / "fake"), *given]) == 0
    found = read_json(tmp_path / "out/metrics.json")
    assert found["real"] is None
    assert set(found["metrics"]) == set(PIXELS)
    assert found["not_scored"] == dict.fromkeys(
        ("fid/pytorch_fid", "lip_distance/five_points"), "needs the true videos: --real FOLDER"
    )
    assert "without true videos to compare with (--real FOLDER)" in capsys.readouterr().out
    sharpness = read_json(evaluated / "metrics.json")["metrics"][PIXELS[0]]["value"]
    assert found["metrics"][PIXELS[0]]["value"] == sharpness
    lines = [json.loads(line) for line in (tmp_path / "out/rows.jsonl").read_text().splitlines()]
    assert {row["source"] for row in lines} == {"generated"}
