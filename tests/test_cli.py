"""The `hallo3` command as a shell sees it."""

import subprocess
import sys

import pytest

from hallo3_lightning.cli import main
from hallo3_lightning.find import names

HEAVY = ("torch", "lightning", "numpy", "yaml", "rich", "tensorboard", "jsonargparse", "datamodules")


def test_help_names_every_verb_and_imports_nothing_heavy():
    program = (
        "import sys; from hallo3_lightning.cli import main\n"
        "try: main(['--help'])\n"
        f"finally: print(sorted(set({HEAVY}) & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    for verb in names("verbs"):
        assert f" {verb.replace('_', '-')} " in " ".join(done.stdout.split()), verb
    assert done.stdout.splitlines()[-1] == "[]"


def test_a_mistake_is_exit_status_2_and_one_line_of_the_real_command():
    done = subprocess.run([sys.executable, "-m", "hallo3_lightning.cli", "abalte"], capture_output=True, text=True)
    assert done.returncode == 2
    assert done.stdout == ""
    assert done.stderr.startswith("hallo3 abalte: error: no verb 'abalte'; did you mean 'ablate'? there are: ablate, ")
    assert done.stderr.count("\n") == 1


@pytest.mark.parametrize("verb", ["synthesize", "ablate", "status", "compare"])
def test_an_option_that_there_is_not(verb, capsys):
    assert main([verb, "somewhere", "--colour=red"]) == 2
    said = capsys.readouterr().err
    assert said.startswith(f"hallo3 {verb}: error: unrecognized arguments: --colour=red (see `hallo3 {verb} --help`)")
    assert said.count("\n") == 1


def test_a_box_that_begins_left_of_the_picture_is_no_option(capsys):
    command = ["animate", "--image=i", "--audio=a", "--weights=absent", "--out=o.mp4", "--face", "-5,-2.5,500,500"]
    assert main(command) == 2
    assert "no weights at 'absent'" in capsys.readouterr().err


@pytest.mark.parametrize("amount", ["-5GB", "-.5 GiB", "-5"])
def test_an_amount_below_nothing_is_no_option(capsys, amount):
    command = ["animate", "--image=i", "--audio=a", "--weights=absent", "--out=o.mp4", "--max-memory", amount]
    assert main(command) == 2
    assert f"--max-memory is {amount}; expected an amount such as 24GB" in capsys.readouterr().err


def test_synthesize_writes_shards_and_their_autoencoder_once(tmp_path, capsys):
    typed = ["synthesize", str(tmp_path), "--takes=2", "--held-out=1", "--frames=5", "--size=16", "--workers=1"]
    assert main([*typed, "--channels=6"]) == 0
    assert (tmp_path / "autoencoder/config.json").is_file()
    times = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*.tar")}
    assert len(times) == 2
    assert main([*typed, "--channels=6"]) == 0
    assert {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*.tar")} == times
    capsys.readouterr()
    assert main([*typed[:-1], "--frames=6"]) == 2
    assert "was made with other arguments (frames 5 there, 6 asked for)" in capsys.readouterr().err


@pytest.mark.parametrize("option", ["--image", "--audio", "--weights", "--video-encoder"])
@pytest.mark.parametrize(
    ("typed", "told"),
    [
        ("", "it is empty; name a file"),
        ("https://example.com/a", "https://example.com/a is an address, and nothing is f"),
    ],
)
def test_animate_is_given_names_of_files(option, typed, told, capsys):
    given = {"--image": "a.png", "--audio": "a.wav", "--weights": "run", "--out": "a.mp4", option: typed}
    assert main(["animate", *(f"{name}={value}" for name, value in given.items())]) == 2
    assert f"argument {option}: {told}" in capsys.readouterr().err
