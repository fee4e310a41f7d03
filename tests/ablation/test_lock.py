"""The lock of a run goes with the process that runs it, not with those that it forked."""

import os
import signal
import subprocess
import sys
from pathlib import Path

from hallo3_lightning.ablation.runs import RunFolder

ROOT = Path(__file__).parents[2]
PROGRAM = """
import os, sys, time
from pathlib import Path
from hallo3_lightning.ablation.runs import RunFolder

with RunFolder(Path(sys.argv[1])).locked():
    if os.fork() == 0:
        print(os.getpid(), flush=True)
    time.sleep(60)
"""


def test_a_killed_run_can_go_on_while_what_it_forked_lives(tmp_path):
    command = [sys.executable, "-c", PROGRAM, str(tmp_path)]
    running = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=os.environ | {"PYTHONPATH": str(ROOT)})
    assert running.stdout is not None
    forked = int(running.stdout.readline())
    try:
        assert RunFolder(tmp_path).is_locked()
        running.kill()
        running.wait()
        os.kill(forked, 0)  # it lives
        assert not RunFolder(tmp_path).is_locked()
        with RunFolder(tmp_path).locked():
            pass
    finally:
        running.kill()
        os.kill(forked, signal.SIGKILL)
        running.stdout.close()
