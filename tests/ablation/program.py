"""A run in miniature: keeps the promises of RunFolder (lock, status, resume, result) without learning anything."""

import json
import os
import sys
import time
from pathlib import Path

from hallo3_lightning.ablation.runs import RunFolder, Status

folder = RunFolder(Path(sys.argv[1]))
how = folder.config()["model"]
steps = folder.config()["trainer"]["max_steps"]
with (folder.path / "processes.txt").open("a") as processes:
    processes.write(f"{os.getpid()}\n")
time.sleep(how.get("import_s", 0.0))  # a real run imports for seconds before it takes its lock
checkpoint = folder.path / "step.txt"
with folder.locked():
    with (folder.path / "starts.txt").open("a") as starts:
        starts.write("x")
    done = int(checkpoint.read_text()) if checkpoint.is_file() else 0
    begin = time.monotonic()
    for step in range(done + 1, steps + 1):
        time.sleep(how["step_s"])
        if step == how.get("fails_at"):
            folder.record(Status("failed", step, steps, error=how.get("error", "RuntimeError: loss is [nan] here")))
            sys.exit(1)
        if step == how.get("crashes_at"):
            sys.exit("KeyError: 'no such [key]'")
        checkpoint.write_text(str(step))
        folder.record(Status("running", step, steps, 1 / step, 8 / how["step_s"], time.monotonic() - begin))
    time.sleep(how.get("test_s", 0.0))
    if how.get("fails_test") and not done:
        folder.record(Status("failed", steps, steps, error="RuntimeError: no scores"))
        sys.exit(1)
    (folder.path / "metrics.json").write_text(json.dumps({"steps": steps}))
    folder.record(Status("finished", steps, steps, 1 / steps, 8 / how["step_s"], time.monotonic() - begin))
