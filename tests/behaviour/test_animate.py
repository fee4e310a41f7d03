"""`hallo3 animate` as its users meet it: films, kills, pipes, and one sentence for each mistake."""

import doctest
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import av
import numpy as np
import pytest
import soundfile
import torch
from einops import rearrange
from PIL import Image
from safetensors import safe_open

from datamodules.index import open_index
from hallo3_lightning.animation.animator import Continuation
from hallo3_lightning.cli import main
from hallo3_lightning.errors import UsageError
from hallo3_lightning.film.animate import animate
from hallo3_lightning.film.facts import provenance, told_by
from hallo3_lightning.film.files.film import GENERATED, Place, tags
from hallo3_lightning.film.files.frames_film import PngFilm
from hallo3_lightning.film.files.mp4_film import Mp4Film
from hallo3_lightning.film.unfinished import Kept, Unfinished
from tests.behaviour.studio import ROOT, Studio, process
from tests.film.files.test_film import HALF_A_FRAME_S, ends_s

SECONDS = 2.3
FRAMES = 58
"""Of 17 + 15 + 15 + 11."""


@pytest.fixture(scope="module")
def weights(studio: Studio, identity) -> Path:
    """The folder of a run that has finished its audio phase."""
    return studio.run("fit", *studio.audio).path


@pytest.fixture(scope="module")
def stage(studio, weights, tmp_path_factory) -> "Stage":
    folder = tmp_path_factory.mktemp("stage")
    index = open_index(studio.folder / "shards/held_out")
    sample = index.read(0)
    Image.fromarray(np.asarray(sample.video[0])).save(folder / "portrait.png")
    waveform = np.concatenate([index.read(number).waveform for number in range(2)])[: round(SECONDS * 16_000)]
    soundfile.write(folder / "speech.wav", waveform, 16_000)
    return Stage(folder, weights, f"{studio.folder / 'shards'}:held_out/{sample.key}")


class Stage:
    """A portrait, a recording, and weights."""

    def __init__(self, folder: Path, weights: Path, sample: str) -> None:
        self.folder, self.weights, self.sample = folder, weights, sample

    def command(self, out: Path | str, *more: str, **given: object) -> list[str]:
        """What is typed; `given` takes the place of an option's value."""
        options = {
            "image": self.folder / "portrait.png",
            "audio": self.folder / "speech.wav",
            "weights": self.weights,
            "face": "4,2,28,30",
            "out": out,
            **given,
        }
        return ["animate", *(part for name, value in options.items() for part in (f"--{name}", str(value))), *more]

    def frames(self, out: Path, *more: str, **given: object) -> np.ndarray:
        """Type it with an npz, and look at the frames."""
        assert main(self.command(out, *more, **given)) == 0
        with np.load(out) as film:
            return film["frames"]


@pytest.fixture(scope="module")
def whole(stage) -> Path:
    """The frames that an unbroken making gives."""
    stage.frames(stage.folder / "whole.npz")
    return stage.folder / "whole.npz"


def complaint(capsys, command: list[str]) -> str:
    """The one sentence on standard error that ends a command with status 2."""
    capsys.readouterr()
    assert main(command) == 2
    lines = capsys.readouterr().err.strip().splitlines()
    assert lines[-1].startswith("hallo3 animate: error: ")
    return lines[-1]


def test_a_film_is_as_long_as_the_sound_has_it_and_says_what_it_is(stage, tmp_path, capsys):
    assert main(stage.command(tmp_path / "talk.mp4", "--prompt", "Ein Mensch spricht. 人が話す")) == 0
    said = capsys.readouterr().out
    assert said.startswith(f"{tmp_path / 'talk.mp4'}: {FRAMES} frames, 2.32 s; first frame after ")
    sampling = ("ddim, 2 steps", "guidance 3 by audio", "seed 0", "2 motion frames", "blended over 1")
    for part in ("real-time factor", "peak memory", *sampling, "32 on cpu"):
        assert part in said
    with av.open(tmp_path / "talk.mp4") as film:
        assert film.streams.video[0].frames == FRAMES
        assert float(film.streams.audio[0].duration * film.streams.audio[0].time_base) == pytest.approx(
            SECONDS, abs=0.1
        )
        told = json.loads(film.metadata["comment"])
        assert film.metadata["description"] == GENERATED
    assert told["generated"] is True
    assert told["prompt"] == "Ein Mensch spricht. 人が話す"
    assert len(told["weights"]) == 64
    assert [path.name for path in tmp_path.iterdir()] == ["talk.mp4"]


def test_forms_hold_the_same_frames_and_a_repeated_request_finds_them(stage, whole, tmp_path, capsys):
    assert main(stage.command(tmp_path / "pictures", "--format", "png")) == 0
    pictures = [np.asarray(Image.open(path)) for path in sorted((tmp_path / "pictures").iterdir())]
    with np.load(whole) as film:
        assert np.array_equal(film["frames"], np.stack(pictures))
    for again in (stage.command(tmp_path / "pictures", "--format", "png"), stage.command(whole, "--resume")):
        assert main(again) == 0
        assert "finished already, by the same request" in " ".join(capsys.readouterr().err.split())


def test_from_python_the_frames_come_as_they_are_made(stage, whole, tmp_path, monkeypatch):
    """The example of the docstring, typed in a folder that has what it names."""
    (tmp_path / "runs").mkdir()
    (tmp_path / "runs/audio").symlink_to(stage.weights)
    for name in ("portrait.png", "speech.wav"):
        (tmp_path / name).symlink_to(stage.folder / name)
    monkeypatch.chdir(tmp_path)
    stage.frames(tmp_path / "spoken.npz", "--prompt", "A person talks.")
    film: list[torch.Tensor] = []
    (example,) = doctest.DocTestFinder().find(animate, globs={"animate": animate, "film": film})
    assert doctest.DocTestRunner().run(example).failed == 0
    assert len(film) > 4
    with np.load("spoken.npz") as file:
        assert np.array_equal(file["frames"], rearrange(torch.cat(film), "f c h w -> f h w c").numpy())


def test_from_python_a_setting_that_there_is_not_is_said_at_once(stage):
    with pytest.raises(UsageError, match="no setting 'guidance_adio' in animate.*; did you mean 'guidance_audio'"):
        animate("portrait.png", "speech.wav", stage.weights, guidance_adio=3.0)
    with pytest.raises(UsageError, match="no setting 'out'"):
        animate("portrait.png", "speech.wav", stage.weights, out="talk.mp4")


def test_a_recording_that_was_cut_off_is_animated_with_a_word(stage, tmp_path, capsys):
    whole = (stage.folder / "speech.wav").read_bytes()
    (tmp_path / "torn.wav").write_bytes(whole[: len(whole) // 2])
    assert len(stage.frames(tmp_path / "torn.npz", audio=tmp_path / "torn.wav")) == FRAMES // 2
    said = " ".join(capsys.readouterr().err.split())
    assert "torn.wav says that it lasts 2.3 s, and 1.1 s of it are there: it was cut off" in said


def test_another_request_does_not_overwrite_a_film(stage, whole, tmp_path, capsys):
    before = whole.read_bytes()
    assert "seed (0 there, 1 here)" in complaint(capsys, stage.command(whole, seed=1))
    (tmp_path / "mine.mp4").write_text("a diary")
    assert "no film of ours" in complaint(capsys, stage.command(tmp_path / "mine.mp4"))
    assert whole.read_bytes() == before
    assert sorted(path.name for path in whole.parent.iterdir()) == ["portrait.png", "speech.wav", "whole.npz"]


def test_the_published_loop_is_another_film_of_the_same_length(stage, whole, tmp_path, capsys):
    published = stage.frames(tmp_path / "published.npz", "--loop", "published")
    with np.load(whole) as film:
        assert published.shape == film["frames"].shape
        assert not np.array_equal(published[17:], film["frames"][17:])
    assert "--loop published hears all of the speech at once" in complaint(
        capsys, stage.command(tmp_path / "piped.mp4", "--loop", "published", audio="-")
    )


def test_settings_and_sound_matter_and_a_seed_is_the_same_twice(stage, whole, tmp_path):
    with np.load(whole) as film:
        frames = film["frames"]
    for name, given in (("seed", {"seed": 1}), ("steps", {"steps": 3}), ("scale", {"guidance-audio": 6.0})):
        assert not np.array_equal(frames, stage.frames(tmp_path / f"{name}.npz", **given)), name
    soundfile.write(tmp_path / "silence.wav", np.zeros(round(SECONDS * 16_000), np.int16), 16_000)
    assert not np.array_equal(frames, stage.frames(tmp_path / "silence.npz", audio=tmp_path / "silence.wav"))
    assert np.array_equal(frames, stage.frames(tmp_path / "again.npz"))


def test_a_sample_of_shards_brings_its_face_and_its_caption(stage, whole, tmp_path, capsys):
    options = {"image": stage.sample, "face": "none"}
    assert main(stage.command(tmp_path / "sample.npz", **options)) == 0
    assert "note:" not in capsys.readouterr().err
    with np.load(tmp_path / "sample.npz") as film:
        assert "person" in json.loads(film["provenance.json"])["prompt"]


def test_what_comes_through_pipes_is_the_same_film(stage, whole, tmp_path):
    waveform, _ = soundfile.read(stage.folder / "speech.wav", dtype="int16")
    command = [sys.executable, "-m", "hallo3_lightning.cli"]
    given = stage.command("-", "--stream", "--pcm", "16000", audio="-")
    made = subprocess.run([*command, *given], input=waveform.tobytes(), capture_output=True, cwd=ROOT, timeout=120)
    assert made.returncode == 0, made.stderr
    assert f"-: {FRAMES} frames" in made.stderr.decode()
    (tmp_path / "piped.mp4").write_bytes(made.stdout)
    assert main(stage.command(tmp_path / "file.mp4")) == 0
    piped, filed = (pictures(tmp_path / name) for name in ("piped.mp4", "file.mp4"))
    assert np.array_equal(piped, filed)


@pytest.mark.parametrize("out", ["talk.mp4", "-"])
def test_live_speech_that_is_ended_by_hand_ends_with_the_picture(stage, tmp_path, monkeypatch, out):
    """All of it has come, and Ctrl-C while frames are made of it."""
    film = tmp_path / "talk.mp4"
    spoken, speaker = os.pipe()

    def press() -> None:
        while not film.exists() or film.stat().st_size < 20_000:
            time.sleep(0.005)
        os.kill(os.getpid(), signal.SIGINT)

    hand = threading.Thread(target=press, daemon=True)
    with os.fdopen(spoken) as stdin, film.open("w") as stdout, monkeypatch.context() as patched:
        patched.setattr(sys, "stdin", stdin)
        if out == "-":
            patched.setattr(sys, "stdout", stdout)
        os.write(speaker, bytes(60_000))
        hand.start()
        given = stage.command(
            out if out == "-" else film, "--stream", "--pcm", "8000", "--overwrite", audio="-", steps=20
        )
        assert main(given) == 0
    os.close(speaker)
    picture, sound = ends_s(film)
    assert 0.4 < picture < 3.75, "it was ended while it was made"
    assert abs(picture - sound) <= HALF_A_FRAME_S


def pictures(film: Path) -> np.ndarray:
    with av.open(film) as container:
        return np.stack([frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)])


def window_of(unfinished: Path) -> int:
    """The window that a killed making would go on with."""
    try:
        with safe_open(unfinished / "state.safetensors", framework="pt") as file:
            return json.loads(file.metadata()["about"])["window"]
    except FileNotFoundError:
        return -1


def test_a_film_that_was_killed_plays_and_goes_on_to_the_same_bytes(stage, tmp_path, capsys):
    out, slow = tmp_path / "broken.mp4", {"steps": 40}
    assert main(stage.command(tmp_path / "whole.mp4", **slow)) == 0
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-m", "hallo3_lightning.cli", *stage.command(out, **slow)]
    process = subprocess.Popen(command, cwd=ROOT, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    while process.poll() is None and window_of(tmp_path / "broken.mp4.unfinished") < 2:
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL, "it was finished before it was killed"
    assert 17 + 15 <= len(pictures(out)) < FRAMES
    assert "differing in sampling.steps (40 there, 3 here)" in complaint(capsys, stage.command(out, steps=3))
    assert main(stage.command(out, "--resume", **slow)) == 0
    assert "going on behind frame" in capsys.readouterr().err
    assert out.read_bytes() == (tmp_path / "whole.mp4").read_bytes()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["broken.mp4", "whole.mp4"]


def test_a_kill_after_the_last_form_leaves_the_finished_film(stage, tmp_path, capsys):
    out = tmp_path / "talk.mp4"
    assert main(stage.command(out)) == 0
    finished, facts = out.read_bytes(), told_by(out)
    unfinished = Unfinished(out)

    def killed() -> None:
        """As a making was when it had told where its last whole window ends."""
        unfinished.hold()
        unfinished.keep(facts, Kept(Place(47, 9_000, 6, 30), Continuation(3, torch.zeros(1, 2, 3, 32, 32).byte())))
        unfinished.let_go()

    killed()
    assert main(stage.command(out)) == 0
    assert "finished already" in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["talk.mp4"]
    assert out.read_bytes() == finished
    killed()
    out.write_text("a diary")
    assert "it was replaced, changed or deleted" in complaint(capsys, stage.command(out))
    assert out.read_text() == "a diary"


@pytest.mark.parametrize(("name", "more"), [("talk.mp4", ()), ("talk", ("--format", "png"))])
def test_a_part_of_a_film_is_not_taken_for_all_of_it(stage, tmp_path, capsys, name, more):
    """As a kill leaves it, and somebody tidied up beside it."""
    out, command = tmp_path / name, stage.command(tmp_path / name, *more)
    assert main(command) == 0
    notes = tags(provenance(told_by(out)))
    film = PngFilm(out, notes) if more else Mp4Film(out, (32, 32), None, notes)
    film.write(torch.zeros(17, 3, 32, 32, dtype=torch.uint8))
    film.end_window()
    film.close()
    assert "is a part of this film, and the folder that said how to go on with it is gone" in complaint(capsys, command)
    assert main([*command, "--overwrite"]) == 0
    assert main(command) == 0
    assert "finished already" in " ".join(capsys.readouterr().err.split())


@pytest.fixture
def weightless(stage, tmp_path) -> tuple[str, str]:
    """An encoder that says its sizes and has no weights: whatever is told with it, is told before weights are read."""
    config = Path(stage.sample.partition(":")[0]) / "autoencoder/config.json"
    (tmp_path / "encoder").mkdir()
    (tmp_path / "encoder/config.json").write_text(config.read_text())
    return "--video-encoder", str(tmp_path / "encoder")


@pytest.mark.parametrize(
    ("typed", "told"),
    [
        (("--overwrite", "--seed", "3"), "make room"),
        (("--seed", "3"), "is a film already, differing in seed (0 there, 3 here)"),
        (("--seed", "3", "--max-memory", "9GB"), "is a film already, differing in seed (0 there, 3 here)"),
        (("--resume", "--out", "other.npz"), "nothing to go on from"),
        (("--blend-frames", "16"), "brings 15 new ones; give 0 to 15"),
        (("--max-memory", "plenty"), "expected an amount"),
    ],
)
def test_what_is_in_the_way_is_told_before_weights_are_read(
    stage, whole, weightless, tmp_path, capsys, monkeypatch, typed, told
):
    if "--overwrite" in typed:
        disk = shutil.disk_usage(tmp_path)._replace(free=60_000)
        monkeypatch.setattr(shutil, "disk_usage", lambda path: disk)
    monkeypatch.chdir(tmp_path)
    assert told in complaint(capsys, stage.command(whole, *weightless, *typed))


def test_a_full_disk_is_told_and_not_that_one_goes_on(stage, weightless, tmp_path, capsys, monkeypatch):
    out = tmp_path / "talk.mp4"
    assert main(stage.command(out)) == 0
    unfinished, facts = Unfinished(out), told_by(out)
    unfinished.hold()
    film = Mp4Film(out, (32, 32), None, tags(provenance(facts)))
    film.write(torch.zeros(17, 3, 32, 32, dtype=torch.uint8))
    unfinished.keep(facts, Kept(film.end_window(), Continuation(1, torch.zeros(1, 2, 3, 32, 32).byte())))
    film.close()
    unfinished.let_go()
    disk = shutil.disk_usage(tmp_path)._replace(free=6_000)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: disk)
    assert main(stage.command(out, *weightless)) == 2
    said = capsys.readouterr().err
    assert "make room" in said
    assert "going on" not in said


@pytest.mark.parametrize("name", ["talk.npz.frames", "talk.npz.partial"])
def test_files_of_others_beside_a_film_stay(stage, tmp_path, capsys, name):
    (tmp_path / name).write_text("mine")
    (tmp_path / "talk.npz.unfinished").mkdir()
    (tmp_path / "talk.npz.unfinished/thesis.txt").write_text("mine too")
    for more in ((), ("--overwrite",)):
        assert f"{name} is there" in complaint(capsys, stage.command(tmp_path / "talk.npz", *more))
    assert sorted(path.name for path in tmp_path.rglob("*.*")) == [name, "talk.npz.unfinished", "thesis.txt"]
    assert (tmp_path / name).read_text() == "mine"


@pytest.mark.parametrize("before", [None, "a film"])
def test_a_film_behind_a_link_is_made_there_and_the_link_stays(stage, tmp_path, before):
    target, link = tmp_path / "disk/film.mp4", tmp_path / "talk.mp4"
    target.parent.mkdir()
    link.symlink_to("disk/film.mp4")
    if before:
        target.write_text(before)
    assert main(stage.command(link, *(("--overwrite",) if before else ()))) == 0
    assert link.is_symlink()
    assert len(pictures(target)) == FRAMES
    assert sorted(path.name for path in tmp_path.rglob("*")) == ["disk", "film.mp4", "talk.mp4"]


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="needs a device that is always full")  # noqa: PTH110
@pytest.mark.parametrize("live", [False, True])
def test_a_full_disk_is_told_with_what_is_there(stage, tmp_path, capsys, monkeypatch, live):
    out = tmp_path / "talk"
    out.mkdir()
    (out / "00000020.png").symlink_to("/dev/full")
    spoken, speaker = os.pipe()
    os.write(speaker, bytes(30_000))
    os.close(speaker)
    with os.fdopen(spoken) as stdin, monkeypatch.context() as patched:
        patched.setattr(sys, "stdin", stdin)
        given, more = ({"audio": "-"}, ("--pcm", "8000")) if live else ({}, ())
        said = complaint(capsys, stage.command(out, "--format", "png", "--overwrite", *more, **given))
    assert f"--out {out} has a disk without room (No space left on device): its first 20 frames are there" in said
    assert said.endswith("what came through the pipe is gone" if live else "type the same again")


def test_a_reader_that_goes_away_is_one_sentence(stage, capsys, monkeypatch):
    reader, writer = os.pipe()
    os.close(reader)
    with os.fdopen(writer, "w") as closed, monkeypatch.context() as patched:
        patched.setattr(sys, "stdout", closed)
        assert "closed by whoever read it" in complaint(capsys, stage.command("-", "--stream"))


def silent_video(path: Path) -> Path:
    with av.open(path, "w") as container:
        stream = container.add_stream("libx264", rate=25)
        stream.width = stream.height = 16
        stream.pix_fmt = "yuv420p"
        container.mux(stream.encode(av.VideoFrame.from_ndarray(np.zeros((16, 16, 3), np.uint8), format="rgb24")))
        container.mux(stream.encode())
    return path


def test_the_least_memory_that_is_asked_for_is_not_exceeded(stage, tmp_path):
    """In processes of their own: the peak is the process's."""
    refused = process(*stage.command(tmp_path / "film.mp4", "--max-memory", "9MB"))
    least = re.search(r"takes about (\d+) MB;", refused.stderr)
    assert refused.returncode == 2
    assert least is not None, refused.stderr
    made = process(*stage.command(tmp_path / "film.mp4", "--max-memory", f"{least[1]}MB"))
    assert made.returncode == 0, made.stderr
    peak = re.search(r"peak memory ([\d,]+) MiB", made.stdout)
    assert peak is not None
    assert int(peak[1].replace(",", "")) * 2**20 <= int(least[1]) * 10**6


def test_every_wrong_input_is_one_sentence(stage, identity, tmp_path, capsys):
    text = tmp_path / "notes.txt"
    text.write_text("a text file")
    soundfile.write(tmp_path / "empty.wav", np.zeros(0, np.int16), 16_000)
    out = tmp_path / "out.mp4"
    wrong = {
        "no picture that Pillow can read": stage.command(out, image=text),
        "no picture at --image": stage.command(out, image="absent.png"),
        "no sample": stage.command(out, image=stage.sample + "0"),
        "has no sound track": stage.command(out, audio=silent_video(tmp_path / "mute.mp4")),
        "length is zero": stage.command(out, audio=tmp_path / "empty.wav"),
        "cannot be decoded": stage.command(out, audio=text),
        "no recording at --audio": stage.command(out, audio="absent.wav"),
        "no weights at": stage.command(out, weights=tmp_path / "absent"),
        "trained without sound": stage.command(out, weights=identity.path),
        "trained with 2 and have seen nothing else": stage.command(out, "--motion-frames", "4"),
        "a window has 17 frames": stage.command(out, "--motion-frames", "17"),
        "in a folder that is not there": stage.command(tmp_path / "absent/out.mp4"),
        "does not say which form": stage.command(tmp_path / "out"),
        "no sampler 'dimm'; did you mean 'ddim'": stage.command(out, "--sampler", "dimm"),
        "steps": stage.command(out, steps=0),
        "give either": stage.command(out, "--guidance", "2", "--guidance-audio", "3"),
        "left,top,right,bottom": stage.command(out, face="1,2,3"),
        "--device is tpu": stage.command(out, device="tpu"),
        "--precision is 8": stage.command(out, precision="8"),
        "nothing to go on from": stage.command(out, "--resume"),
        "takes an mp4 with --stream": stage.command("-"),
        "--config": stage.command(out, config=ROOT / "experiments/tiny/audio.yaml"),
        "expected an amount such as 24GB": stage.command(out, "--max-memory", "plenty"),
        "is too little: with everything given up": stage.command(out, "--max-memory", "9MB"),
        "rate of bare samples": stage.command(out, "--pcm", "16000"),
    }
    for sentence, command in wrong.items():
        assert sentence in complaint(capsys, command)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["empty.wav", "mute.mp4", "notes.txt"]


def test_an_encoder_that_moved_is_named(stage, tmp_path, capsys):
    config = (stage.weights / "config.yaml").read_text()
    moved = tmp_path / "run"
    moved.mkdir()
    (moved / "checkpoints").symlink_to(stage.weights / "checkpoints")
    (moved / "config.yaml").write_text(config.replace("shards/autoencoder", "gone/autoencoder"))
    out = tmp_path / "out.npz"
    assert "--video-encoder FOLDER" in complaint(capsys, stage.command(out, weights=moved))
    there = str(stage.sample.partition(":")[0]) + "/autoencoder"
    assert stage.frames(out, "--video-encoder", there, weights=moved).shape == (FRAMES, 32, 32, 3)
