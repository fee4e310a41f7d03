"""A new user's own videos: written, prepared, indexed and trained on, by typed commands alone."""

import json
from pathlib import Path

import pytest

from datamodules.index import open_index
from hallo3_lightning.cli import main
from tests.behaviour.studio import Studio, scalars


@pytest.fixture(scope="module")
def heads(tmp_path_factory) -> Path:
    """A folder of 8 videos with captions and faces.jsonl."""
    folder = tmp_path_factory.mktemp("own") / "videos"
    assert main(["synthesize", str(folder), "--mp4", "--takes=8"]) == 0
    return folder


def prepare(videos: Path, out: Path, *more: str) -> int:
    faces = () if any(option.startswith("--faces") for option in more) else (f"--faces={videos / 'faces.jsonl'}",)
    size = ("--size=32x32", "--min-frames=34", "--held-out=0.3", "--workers=0")
    return main(["prepare", str(videos), str(out), *size, *faces, *more])


def test_videos_with_captions_become_shards_that_a_phase_trains_on(heads, studio: Studio, tmp_path, capsys):
    assert sorted(path.suffix for path in heads.iterdir()) == ["", ".jsonl", ".jsonl"] + [".mp4"] * 8 + [".txt"] * 8
    assert prepare(heads, tmp_path / "out") == 0
    said = capsys.readouterr().out
    assert f"{tmp_path / 'out'}: kept 8 of 8 takes" in said
    assert len(open_index(tmp_path / "out/train")) + len(open_index(tmp_path / "out/held_out")) == 8
    encoder = f"--model.encoders.video_folder={heads / 'autoencoder'}"
    command = (*studio.identity, f"--data.shards={tmp_path / 'out'}", encoder, "--trainer.max_steps=5")
    run = studio.run("fit", *command)
    assert [step for step, _ in scalars(run, "train/loss")] == [0, 1, 2, 3, 4]


def test_too_many_dropped_is_exit_status_1_and_what_was_kept_is_there(heads, tmp_path, capsys):
    captions = tmp_path / "list.csv"
    rows = [f"000000{number}.mp4,{'talks' if number in (1, 6) else ''}" for number in range(8)]
    captions.write_text("\n".join(["video,caption", *rows]))
    assert prepare(heads, tmp_path / "out", f"--captions={captions}") == 1
    said = capsys.readouterr().out
    assert "75% of the takes were dropped, more than --drop-limit 50%" in said
    verdicts = [json.loads(line)["verdict"] for line in (tmp_path / "out/verdicts.jsonl").read_text().splitlines()]
    assert verdicts == ["no caption", "kept", *["no caption"] * 4, "kept", "no caption"]
    assert prepare(heads, tmp_path / "out", f"--captions={captions}", "--drop-limit=0.8") == 0
    assert prepare(heads, tmp_path / "all", f"--captions={captions}", "--no-caption-needed") == 0


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (["--faces="], "say who finds the faces: --faces FOLDER with detector files (`hallo3 doctor` lists them"),
        (["--size=32"], "--size is 32; expected height x width in pixels, such as 480x720"),
        (["--size=31x32"], "--size is 31x32; H.264 in 4:2:0 needs even sides"),
        (["--fit=corp"], "no --fit 'corp'; did you mean 'crop'? there are: crop, pad, square, stretch"),
        (["--take-frames=20"], "--take-frames is 20, --min-frames 34: every take would be too short"),
        (["--workers=-1"], "--workers is -1; expected 0 (all in one process) or more"),
        (["--face-share=0"], "--face-share is 0.0; it is a share above 0, at most 1"),
        (["--face-every=40"], "--face-every is 40, --min-frames 34: a take could have no frame that is looked at"),
        (["--lip-sync=nowhere", "--faces=none"], "--lip-sync needs to know where the lips are"),
        (["--lip-sync=nowhere"], "hallo3 doctor"),
        (["--layout=hallo3"], "is not a folder; --layout hallo3 expects videos/ and caption/ in it"),
        (["--enlarge-limit=nan"], "--enlarge-limit is nan; it must be a finite number"),
        (["--sync-confidence=nan"], "--sync-confidence is nan; it must be a finite number"),
        (["--drop-limit=2"], "--drop-limit is 2.0; it is a share between 0 and 1"),
    ],
)
def test_a_mistake_is_one_sentence_and_nothing_is_written(heads, tmp_path, capsys, more, message):
    assert prepare(heads, tmp_path / "out", *more) == 2
    said = capsys.readouterr().err
    assert said.startswith("hallo3 prepare: error: ")
    assert message in said
    assert said.count("\n") == 1
    assert not (tmp_path / "out").exists()


def test_faces_of_other_videos_are_refused(heads, tmp_path, capsys):
    (tmp_path / "faces.jsonl").write_text('{"video": "other.mp4", "faces": []}\n')
    assert prepare(heads, tmp_path / "out", f"--faces={tmp_path / 'faces.jsonl'}") == 2
    assert "tells of none of the videos: it names others, such as other.mp4" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_a_file_where_a_folder_is_to_be_is_one_sentence(heads, tmp_path, capsys):
    (tmp_path / "out").write_text("mine")
    for out in (tmp_path / "out", tmp_path / "out/deeper"):
        assert prepare(heads, out) == 2
        assert main(["synthesize", str(out)]) == 2
        assert main(["synthesize", str(out), "--mp4", "--takes=1"]) == 2
        said = capsys.readouterr().err
        assert said.count("it is a file, or lies below one; name another folder") == 3
        assert said.count("\n") == 3
    assert (tmp_path / "out").read_text() == "mine"


def test_a_folder_without_detector_files_is_refused(heads, tmp_path, capsys):
    (tmp_path / "weights").mkdir()
    assert prepare(heads, tmp_path / "out", f"--faces={tmp_path / 'weights'}") == 2
    said = capsys.readouterr().err
    assert "hallo3 doctor" in said
    assert said.count("\n") == 1


def test_the_autoencoder_beside_the_videos_is_that_of_the_same_takes_as_shards(heads, tmp_path):
    assert main(["synthesize", str(tmp_path / "shards"), "--takes=8", "--held-out=1", "--workers=1"]) == 0
    for name in ("config.json", "model.safetensors"):
        ours, theirs = (folder / "autoencoder" / name for folder in (heads, tmp_path / "shards"))
        assert ours.read_bytes() == theirs.read_bytes()


@pytest.mark.parametrize(
    ("more", "message"),
    [
        ("--held-out=4", "`hallo3 prepare --held-out` chooses who is held out"),
        ("--workers=1", "videos are written by one process"),
        ("--size=20", "expected a size that 8 divides, such as 24"),
    ],
)
def test_what_videos_cannot_have_is_one_sentence(tmp_path, capsys, more, message):
    assert main(["synthesize", str(tmp_path / "videos"), "--mp4", "--takes=2", more]) == 2
    assert message in capsys.readouterr().err
    assert not (tmp_path / "videos").exists()


def test_videos_are_not_written_over(heads, capsys):
    assert main(["synthesize", str(heads), "--mp4", "--takes=2"]) == 2
    assert "is not empty; choose another folder" in capsys.readouterr().err
