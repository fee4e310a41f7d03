"""How much memory this process has taken."""

import re
import resource
import sys
from pathlib import Path

STATUS = Path("/proc/self/status")


def peak_bytes() -> int:
    """The most main memory that this process has had so far.

    Not `ru_maxrss` where Linux tells better: a process that another one starts begins with the peak of that other.
    """
    told = re.search(r"^VmHWM:\s*(\d+) kB$", STATUS.read_text(), re.MULTILINE) if STATUS.is_file() else None
    if told is not None:
        return int(told[1]) * 1024
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024
