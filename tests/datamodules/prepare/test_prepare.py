import io
import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from datamodules.index import open_index
from datamodules.prepare.faces import finder
from datamodules.prepare.framing import framing
from datamodules.prepare.judge import Judge
from datamodules.prepare.prepare import prepare
from datamodules.prepare.settings import Settings
from datamodules.prepare.sources import find_sources
from datamodules.prepare.splits import Split
from datamodules.shards import Sample
from datamodules.synthetic.take import make_take
from datamodules.video.video_file import Mp4, write_mp4
from hallo3_lightning.errors import UsageError
from hallo3_lightning.geometry import audio_samples
from tests.datamodules.prepare.conftest import EMBEDDING, FRAMES, SIDE, Deadly, face, take, write

SMALL = Settings(
    height=16,
    width=24,
    min_frames=20,
    take_frames=40,
    face_every=4,
    takes_per_shard=3,
    split=Split(named=("bert",)),
)


def judge(videos: Path, **changes) -> Judge:
    found = finder(faces_file=videos / "faces.jsonl")
    assert found is not None
    return Judge(replace(SMALL, faces=found.fingerprint, **changes), found)


@pytest.fixture(scope="module")
def made(videos, sources, tmp_path_factory) -> Path:
    """To be read only."""
    out = tmp_path_factory.mktemp("prepared") / "out"
    prepare(sources, out, judge(videos), workers=0)
    return out


def contents(out: Path) -> dict[str, bytes]:
    """Shards, verdicts and manifest, by their place in the folder."""
    files = [*out.glob("[th]*/*.tar"), out / "verdicts.jsonl", out / "dataset.json"]
    return {str(path.relative_to(out)): path.read_bytes() for path in files}


def verdicts(out: Path) -> list[dict]:
    return [json.loads(line) for line in (out / "verdicts.jsonl").read_text().splitlines()]


def samples(out: Path) -> dict[str, Sample]:
    """By video and first frame."""
    indexes = [open_index(out / split) for split in ("train", "held_out")]
    read = [index.read(number) for index in indexes for number in range(len(index))]
    return {f"{sample.facts['video']} {sample.facts['first_frame']}": sample for sample in read}


def test_each_take_has_its_verdict_in_order_of_the_videos(made):
    told = [(line["video"], line["first"], line["frames"], line["verdict"], line["detail"]) for line in verdicts(made)]
    assert told[3][-1]
    assert told == [
        ("anna/1.mp4", 0, FRAMES, "kept", ""),
        ("anna/2.mp4", 0, FRAMES, "kept", ""),
        ("bert/1.mp4", 0, FRAMES, "kept", ""),
        ("broken.mp4", 0, 0, "undecodable", told[3][-1]),
        ("carla/1.mp4", 0, FRAMES, "kept", ""),
        ("crowd.mp4", 0, FRAMES, "several faces", "in 7 of 7 frames"),
        ("dora/three scenes.mp4", 0, 27, "kept", ""),
        ("dora/three scenes.mp4", 27, 30, "kept", ""),
        ("dora/three scenes.mp4", 57, 30, "kept", ""),
        ("dora/three scenes.mp4", 87, 10, "too short", "10 frames"),
        ("empty room.mp4", 0, FRAMES, "no face", "in 7 of 7 frames"),
        ("mute.mp4", 0, 0, "no audio", ""),
        ("short.mp4", 0, 0, "too short", "7 frames"),
        ("silent.mp4", 0, FRAMES, "silent", "-inf dBFS"),
        ("tiny.mp4", 0, 0, "too small", "8x8 enlarged 3.00 times"),
        ("unnamed.mp4", 0, 0, "no caption", ""),
        ("zero.mp4", 0, 0, "undecodable", "it points to before its beginning"),
    ]


def test_samples_are_what_the_videos_show(made):
    """Cropped from 32 x 32 to the middle 21.3 rows and drawn at 16 x 24: three quarters in size."""
    found = samples(made)
    assert len(found) == 7
    sample = found["anna/2.mp4 0"]
    frames, waveform = take(1)
    assert sample.caption == "this is anna/2"
    assert sample.facts["identity"] == "anna"
    assert sample.face_embedding is not None
    assert sample.face_embedding.tolist() == EMBEDDING
    assert sample.facts["face_box"] == [6, 0, 18, 13]  # 0.75 * (8, 4 - 5.33, 24, 22 - 5.33), outwards
    assert sample.video.shape == (FRAMES, 16, 24, 3)
    shown, expected = sample.video[:].astype(float).mean(axis=(1, 2)), frames[:, 5:27].astype(float).mean(axis=(1, 2))
    assert np.abs(shown - expected).max() < 6
    assert sample.waveform is not None
    assert np.corrcoef(sample.waveform, waveform)[0, 1] > 0.95


def test_a_later_take_has_the_sound_of_its_own_frames(made):
    sample = samples(made)["dora/three scenes.mp4 57"]
    waveform = take(6, 60)[1][audio_samples(30) :]
    assert sample.waveform is not None
    assert np.corrcoef(sample.waveform, waveform)[0, 1] > 0.95
    expected = take(6, 60)[0][30:, 5:27].astype(float).mean(axis=(1, 2))
    assert np.abs(sample.video[:].astype(float).mean(axis=(1, 2)) - expected).max() < 6


def test_splits_hold_the_identities_that_were_named(made):
    splits = {split: open_index(made / split) for split in ("train", "held_out")}
    assert {split: len(index) for split, index in splits.items()} == {"train": 6, "held_out": 1}
    sides = [(sample.facts["identity"], sample.facts["split"]) for sample in samples(made).values()]
    assert set(sides) == {("anna", "train"), ("bert", "held_out"), ("carla", "train"), ("dora", "train")}
    assert len(list(made.glob("train/*.tar"))) == 2
    manifest = json.loads((made / "dataset.json").read_text())
    assert manifest["fingerprint"] == "-".join(index.digest for index in splits.values())


def test_two_workers_give_the_same_bytes(made, videos, sources, tmp_path):
    prepare(sources, tmp_path, judge(videos), workers=2)
    assert contents(tmp_path) == contents(made)


def test_the_same_take_is_the_same_bytes_again_and_again():
    """Whatever memory is reused: with x264's shortcuts for the processor, one encoding in four of these differs."""
    small, how = io.BytesIO(), framing((SIDE, SIDE), (192, 288), "pad")
    made = make_take(0, 29, frames=50, size=SIDE)
    write_mp4(small, made.video[:], made.waveform)
    frames = [how.draw(frame) for frame in Mp4(small.getvalue())[:]]
    written, rng = set(), np.random.default_rng(0)
    for _ in range(8):
        file = io.BytesIO()
        _ = [rng.integers(0, 256, rng.integers(10_000, 3_000_000), np.uint8) for _ in range(5)]  # other memory to reuse
        write_mp4(file, frames)
        written.add(file.getvalue())
    assert len(written) == 1


def test_a_video_that_ends_its_process_is_dropped_and_the_others_are_not(sources, tmp_path):
    summary = prepare(sources[:3], tmp_path, Judge(SMALL, Deadly("anna/2.mp4")), workers=2)
    told = [(verdict.video, verdict.verdict, verdict.detail) for verdict in summary.verdicts]
    assert told == [
        ("anna/1.mp4", "kept", ""),
        ("anna/2.mp4", "undecodable", "it ends the process that decodes it"),
        ("bert/1.mp4", "kept", ""),
    ]


def test_a_second_call_writes_no_shard(videos, sources, tmp_path):
    times = []
    for _ in range(2):
        prepare(sources, tmp_path, judge(videos), workers=0)
        times.append({path: path.stat().st_mtime_ns for path in [*tmp_path.glob("*/*.tar"), *tmp_path.glob(".work/*")]})
    assert times[0] == times[1]
    assert not list(tmp_path.glob(".work/*.tar"))


def test_a_shard_that_was_lost_is_made_again(made, videos, sources, tmp_path):
    prepare(sources, tmp_path, judge(videos), workers=0)
    (tmp_path / "train" / "train-00001.tar").unlink()
    prepare(sources, tmp_path, judge(videos), workers=0)
    assert contents(tmp_path) == contents(made)


def test_other_settings_are_refused_by_name(videos, sources, tmp_path):
    prepare(sources[:1], tmp_path, judge(videos), workers=0)
    with pytest.raises(
        UsageError, match=r"other arguments \(--fit crop there, pad asked for; --size 24 there, 40 asked"
    ):
        prepare(sources[:1], tmp_path, judge(videos, width=40, fit="pad"), workers=0)


def test_a_folder_with_other_shards_is_left_alone(videos, sources, tmp_path):
    (tmp_path / "train").mkdir()
    (tmp_path / "train" / "mine.tar").touch()
    with pytest.raises(UsageError, match="choose an empty folder"):
        prepare(sources, tmp_path, judge(videos), workers=0)


def all_files(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.mark.parametrize("out", ["videos", "videos/train", "."])
def test_a_folder_that_holds_the_videos_is_left_alone(tmp_path, out):
    write(tmp_path / "videos/train/a.mp4", *take(1))
    before = all_files(tmp_path)
    with pytest.raises(UsageError, match="holds videos, in .*train; choose a folder to write"):
        prepare(find_sources(tmp_path / "videos", None, "folder"), tmp_path / out, Judge(SMALL), workers=0)
    assert all_files(tmp_path) == before


@pytest.mark.parametrize(
    "place",
    ["train/notes.txt", "held_out/sub/thesis.txt", "train/train-00000.tar", "verdicts.jsonl", ".work/x-y.tar", "train"],
)
def test_a_new_folder_with_other_files_is_left_alone(sources, tmp_path, place):
    (tmp_path / place).parent.mkdir(parents=True, exist_ok=True)
    (tmp_path / place).write_text("mine")
    with pytest.raises(UsageError, match="choose an empty folder"):
        prepare(sources[:1], tmp_path, Judge(SMALL), workers=0)
    assert all_files(tmp_path) == {place: b"mine", ".lock": b""}


@pytest.mark.parametrize("place", ["train/notes.txt", "held_out/sub/thesis.txt", "train/train-00099.tar"])
def test_a_file_that_came_later_is_never_removed(sources, tmp_path, place):
    """Other videos make another plan, by which what was written before goes."""
    (tmp_path / "train").mkdir()
    (tmp_path / "train/.hidden").write_text("mine")
    prepare(sources[:1], tmp_path, Judge(SMALL), workers=0, keep_work=True)
    (tmp_path / place).parent.mkdir(parents=True, exist_ok=True)
    (tmp_path / place).write_text("mine")
    before = all_files(tmp_path)
    with pytest.raises(UsageError, match=f"{place.partition('.')[0].split('/')[1]}.* move it out of"):
        prepare(sources[:2], tmp_path, Judge(SMALL), workers=0, keep_work=True)
    assert all_files(tmp_path) == before
    (tmp_path / place).unlink()
    for path in tmp_path.glob("held_out/sub"):
        path.rmdir()
    prepare(sources[:2], tmp_path, Judge(SMALL), workers=0, keep_work=True)
    assert len(open_index(tmp_path / "train")) == 2
    assert (tmp_path / "train/.hidden").read_text() == "mine"


def test_with_fewer_takes_the_shards_of_before_go(videos, sources, made, tmp_path):
    prepare(sources, tmp_path, judge(videos), workers=0, keep_work=True)
    prepare(sources[:3], tmp_path, judge(videos), workers=0, keep_work=True)
    names = sorted(path.name for split in ("train", "held_out") for path in (tmp_path / split).glob("[!.]*"))
    assert names == ["held_out-00000.tar", "index.wdx", "index.wdx", "train-00000.tar"]
    prepare(sources, tmp_path, judge(videos), workers=0, keep_work=True)
    assert contents(tmp_path) == contents(made)


def test_two_processes_do_not_write_one_folder(videos, sources, tmp_path):
    from datamodules.processes import alone

    with alone(tmp_path, "preparing"), pytest.raises(UsageError, match="another process is preparing"):
        prepare(sources, tmp_path, judge(videos), workers=0)


def test_what_changed_is_done_again_and_what_came_is_added(tmp_path, capsys):
    """With the work kept, the videos that stayed are not looked at again; the result is that of a fresh run."""
    folder, out = tmp_path / "videos", tmp_path / "out"
    for name in ("a", "c"):
        write(folder / f"{name}.mp4", *take(1))
    rule = Judge(replace(SMALL, split=Split(named=("c",))))
    prepare(find_sources(folder, None, "folder"), out, rule, workers=0, keep_work=True)
    results = {path: path.stat().st_mtime_ns for path in (out / ".work").glob("*.tar")}
    write(folder / "b.mp4", *take(2))
    (folder / "c.txt").write_text("another caption")
    prepare(find_sources(folder, None, "folder"), out, rule, workers=0, keep_work=True)
    assert "1 videos, or what is said of them, changed" in capsys.readouterr().out
    untouched = [path for path, changed in results.items() if path.stat().st_mtime_ns == changed]
    assert len(untouched) == 1
    fresh = tmp_path / "fresh"
    prepare(find_sources(folder, None, "folder"), fresh, rule, workers=0)
    assert contents(fresh) == contents(out)
    assert samples(out)["c.mp4 0"].caption == "another caption"


def test_a_face_without_the_embedding_that_others_have_is_dropped(sources, tmp_path):
    lines = [{"video": source.name, "faces": [face(8, 4, 20, 22)]} for source in sources[:2]]
    del lines[1]["faces"][0]["embedding"]
    (tmp_path / "faces.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    found = [next(judge(tmp_path).judge(source))[0].verdict for source in sources[:2]]
    assert found == ["kept", "no identity"]


def test_lines_of_faces_are_added_with_the_videos(tmp_path, capsys):
    """Videos whose lines stayed are not looked at again; those whose lines changed are."""
    folder, out, told = tmp_path / "videos", tmp_path / "out", {}

    def prepared(place: Path) -> dict[Path, int]:
        text = "".join(
            json.dumps({"video": name, "faces": [face(*told[name]) | {"embedding": [1.0]}]}) + "\n" for name in told
        )
        (folder / "faces.jsonl").write_text(text)
        prepare(find_sources(folder, None, "folder"), place, judge(folder, split=named), workers=0, keep_work=True)
        return {path: path.stat().st_mtime_ns for path in (place / ".work").glob("*.tar")}

    named = Split(named=("c",))
    for name in ("a.mp4", "c.mp4"):
        write(folder / name, *take(1))
        told[name] = (8, 4, 20, 22)
    before = prepared(out)
    write(folder / "b.mp4", *take(2))
    told["b.mp4"] = (8, 4, 24, 22)
    more = prepared(out)
    assert "changed" not in capsys.readouterr().out
    assert len(more) == 3
    assert more | before == more
    told["c.mp4"] = (9, 4, 20, 22)
    last = prepared(out)
    assert "1 videos, or what is said of them, changed" in capsys.readouterr().out
    assert len(set(last.items()) & set(more.items())) == 2
    prepared(tmp_path / "fresh")
    assert contents(tmp_path / "fresh") == contents(out)


@pytest.mark.parametrize(
    ("file", "text", "message"),
    [
        (".work/plan.json", "", r"train-00000.tar is none of the files that .work/plan.json remembers"),
        ("dataset.json", "[]", "dataset.json does not say what this folder was made with"),
        ("dataset.json", "", "dataset.json does not say what this folder was made with"),
    ],
)
def test_a_damaged_note_is_one_sentence(sources, tmp_path, file, text, message):
    prepare(sources[:1], tmp_path, Judge(SMALL), workers=0)
    (tmp_path / file).write_text(text)
    before = all_files(tmp_path)
    with pytest.raises(UsageError, match=message):
        prepare(sources[:2], tmp_path, Judge(SMALL), workers=0)
    assert all_files(tmp_path) == before


@pytest.mark.parametrize("text", ["", "[]", '{"state": 1}'])
def test_a_damaged_result_is_made_again(sources, tmp_path, text):
    prepare(sources[:1], tmp_path, Judge(SMALL), workers=0)
    before = contents(tmp_path)
    (result,) = (path for path in tmp_path.glob(".work/*.json") if path.name != "plan.json")
    result.write_text(text)
    prepare(sources[:1], tmp_path, Judge(SMALL), workers=0)
    assert contents(tmp_path) == before


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"cuts": "drop", "take_frames": 0}, [(0, 97, "scene cut")]),
        ({"cuts": "ignore", "take_frames": 0}, [(0, 97, "kept")]),
        ({"cuts": "split", "take_frames": 0}, [(0, 27, "kept"), (27, 60, "kept"), (87, 10, "too short")]),
    ],
)
def test_what_becomes_of_cuts(videos, sources, changes, expected):
    source = next(source for source in sources if source.name.startswith("dora"))
    found = [verdict for verdict, _ in judge(videos, **changes).judge(source)]
    assert [(verdict.first, verdict.frames, verdict.verdict) for verdict in found] == expected


def test_without_a_finder_the_face_is_unknown(sources):
    verdict, sample = next(Judge(SMALL).judge(sources[0]))
    assert verdict.kept
    assert sample is not None
    assert sample.facts["face_box"] is None
    assert sample.face_embedding is None


def test_separated_vocals_replace_the_sound(sources, tmp_path):
    import soundfile

    vocals = make_take(3, 77, frames=FRAMES, size=16).waveform
    assert vocals is not None
    soundfile.write(tmp_path / "vocals.wav", vocals, 16_000, subtype="PCM_16")
    _, sample = next(Judge(SMALL).judge(replace(sources[0], vocals=tmp_path / "vocals.wav")))
    assert sample is not None
    assert np.array_equal(sample.waveform, vocals)


def test_names_within_a_file_that_are_no_text_do_no_harm(tmp_path):
    write(tmp_path / "a.mp4", *take(1))
    content = (tmp_path / "a.mp4").read_bytes()
    assert b"VideoHandler" in content
    (tmp_path / "a.mp4").write_bytes(content.replace(b"VideoHandler", b"\xff\xfe\x9bHandler\xf4\x80"))
    assert next(Judge(SMALL).judge(find_sources(tmp_path, None, "folder")[0]))[0].kept


KILLED = """
import sys
from pathlib import Path
from dataclasses import replace
from datamodules.prepare.framing import framing
from datamodules.prepare.judge import Judge
from datamodules.prepare.prepare import prepare
from datamodules.prepare.sources import find_sources
from tests.datamodules.prepare.test_prepare import judge
if __name__ == "__main__":
    videos = Path(sys.argv[1])
    prepare(find_sources(videos, None, "folder"), Path(sys.argv[2]), judge(videos), workers=2)
"""


def test_killed_and_run_again_gives_the_same_bytes(made, videos, sources, tmp_path):
    """Two processes, killed when some videos are done; their workers end with them; then one."""
    script, out = tmp_path / "script.py", tmp_path / "killed"
    script.write_text(KILLED)
    process = subprocess.Popen(
        [sys.executable, str(script), str(videos), str(out)],
        stdout=subprocess.DEVNULL,
        start_new_session=True,
        env=os.environ | {"PYTHONPATH": str(Path(__file__).parents[3])},
    )
    while len(list(out.glob(".work/*.json"))) < 3:
        assert process.poll() is None
        time.sleep(0.005)
    process.send_signal(signal.SIGKILL)
    process.wait()
    wait_until_gone(process.pid)
    assert not (out / "verdicts.jsonl").exists(), "the kill came too late to show anything"
    prepare(sources, out, judge(videos), workers=0)
    assert contents(out) == contents(made)


def wait_until_gone(session: int) -> None:
    """Until no process of the session is left."""
    for _ in range(500):
        try:
            os.killpg(session, 0)
        except ProcessLookupError:
            return
        time.sleep(0.02)
    raise AssertionError("workers outlived the process that they work for")
