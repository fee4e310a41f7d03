"""The peak of a process, whoever has started it."""

import subprocess
import sys

import numpy as np

from hallo3_lightning.process_memory import peak_bytes


def test_what_was_taken_and_given_back_counts():
    before = peak_bytes()
    np.ones(before + 50_000_000, np.uint8)
    assert peak_bytes() > before + 50_000_000


def test_a_process_does_not_begin_with_the_peak_of_who_started_it():
    held = np.ones(300_000_000, np.uint8)
    code = "from hallo3_lightning.process_memory import peak_bytes; print(peak_bytes())"
    started = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert int(started.stdout) < held.nbytes
