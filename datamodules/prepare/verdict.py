"""What became of a take: kept, or dropped for one of the reasons that prepare knows."""

from dataclasses import dataclass

REASONS = {
    "missing": "a list or a link names a file that is not there",
    "undecodable": "no video that can be decoded",
    "too small": "would be enlarged beyond --enlarge-limit",
    "no caption": "no text for it, or an empty one",
    "too short": "fewer frames than --min-frames, in the video or between two scene cuts",
    "scene cut": "a cut within it, with --cuts drop",
    "no audio": "no sound track",
    "silent": "the sound is below the least loudness",
    "no face": "too few of its frames show a face",
    "no identity": "its face has no embedding, where those of other takes have one",
    "several faces": "too many of its frames show a second large face",
    "lip-sync offset": "lips and sound do not belong together, or not at the same time",
}
"""Every reason for which a take is dropped, and what it says."""

KEPT = "kept"


@dataclass(frozen=True)
class Verdict:
    """One line of verdicts.jsonl: a take, or a whole video of which nothing could be made."""

    video: str
    """Its path under the folder of videos."""
    verdict: str
    """`kept`, or one of REASONS."""
    detail: str = ""
    """The measurement behind it, where there is one."""
    key: str = ""
    """Of the sample; empty for a whole video."""
    first: int = 0
    """First frame within the video, at 25 frames a second."""
    frames: int = 0
    identity: str = ""
    split: str = ""
    """Of a kept take: train or held_out."""

    @property
    def kept(self) -> bool:
        """Whether it is in a shard."""
        return self.verdict == KEPT


class Dropped(Exception):
    """Ends the work on a take, or on a whole video, with a reason of REASONS."""

    def __init__(self, reason: str, detail: str = "") -> None:
        assert reason in REASONS, reason
        super().__init__(f"{reason}: {detail}")
        self.reason = reason
        self.detail = detail
