"""A folder that is complete or not there, also where the process that writes it is killed."""

import signal
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from hallo3_lightning.errors import UsageError
from hallo3_lightning.weights.aside import written_aside


def begun(out: Path) -> subprocess.Popen[str]:
    """A process that has begun to write a folder."""
    program = f"""
        import time
        from pathlib import Path
        from hallo3_lightning.weights.aside import written_aside
        with written_aside(Path({str(out)!r}), 1) as aside:
            (aside / "shard").write_text("half")
            print("begun", flush=True)
            time.sleep(60)
    """
    process = subprocess.Popen([sys.executable, "-c", textwrap.dedent(program)], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stdout.readline() == "begun\n"
    return process


def test_sigterm_leaves_nothing(tmp_path):
    with begun(tmp_path / "deep" / "out") as process:
        process.send_signal(signal.SIGTERM)
        assert process.wait(20) == 128 + signal.SIGTERM
    assert list(tmp_path.iterdir()) == []


def test_what_sigkill_left_is_cleared_by_the_next_and_said(tmp_path, capsys):
    out = tmp_path / "out"
    with begun(out) as killed:
        killed.kill()
    left = list(tmp_path.iterdir())
    assert len(left) == 1
    with written_aside(out, 1) as aside:
        (aside / "shard").write_text("whole")
    assert f"removing {left[0]}, which a process that was killed left behind" in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["out"]
    assert (out / "shard").read_text() == "whole"


def test_what_another_process_writes_is_left_alone(tmp_path):
    with begun(tmp_path / "out") as other:
        with written_aside(tmp_path / "out", 1) as aside:
            assert len(list(tmp_path.iterdir())) == 2
            assert aside.is_dir()
        other.kill()


def test_sigterm_means_again_what_it_meant(tmp_path):
    before = signal.getsignal(signal.SIGTERM)
    with written_aside(tmp_path / "out", 1):
        assert signal.getsignal(signal.SIGTERM) != before
    assert signal.getsignal(signal.SIGTERM) == before


def test_too_small_a_disk_is_seen_before_anything_is_written(tmp_path):
    with pytest.raises(UsageError, match="make room first"), written_aside(tmp_path / "out", size=10**18):
        pytest.fail("began to write")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.skipif(not Path("/proc/self").is_dir(), reason="a place of Linux where no folder can be made")
def test_a_place_for_no_folders_is_told_as_that():
    with (
        pytest.raises(UsageError, match="cannot be made there .*; name another place"),
        written_aside(Path("/proc/x"), 1),
    ):
        pytest.fail("began to write")
