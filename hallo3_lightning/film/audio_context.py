"""How far around a window the audio encoder hears: as asked for, or as it heard when the weights were trained."""

import re
from dataclasses import dataclass

from hallo3_lightning.errors import UsageError
from hallo3_lightning.geometry import AUDIO_CONTEXT_FRAMES

ALL = "all"


@dataclass(frozen=True)
class AudioContext:
    """Frames before and behind a window that the encoder hears; None where it hears all of the sound at once."""

    before: int | None
    after: int | None

    def frames_at_once(self, clip_frames: int, all_frames: int) -> int:
        """How much sound is encoded, and kept, at a time: a window's and what is around it, or all of it."""
        if self.before is None or self.after is None:
            return all_frames
        return self.before + clip_frames + self.after

    def __str__(self) -> str:
        if self.before is None:
            return ALL
        return f"{self.before}" if self.before == self.after else f"{self.before} before, {self.after} behind"


EVERYTHING = AudioContext(None, None)


def asked(told: int | str) -> AudioContext:
    """What --audio-context-frames says. Raises UsageError where that is neither a number of frames nor all."""
    if told == ALL:
        return EVERYTHING
    if not re.fullmatch(r"[0-9]{1,9}", str(told)) or int(told) < AUDIO_CONTEXT_FRAMES:
        raise UsageError(
            f"--audio-context-frames is {told}; give the frames on either side of a window that the audio encoder hears, "
            f"{AUDIO_CONTEXT_FRAMES} or more, or {ALL}"
        )
    return AudioContext(int(told), int(told))


def trained_with(frames: int, is_live: bool) -> AudioContext:
    """That many frames on either side; behind a window of live speech as few as can be, for each one keeps it waiting."""
    return AudioContext(frames, AUDIO_CONTEXT_FRAMES if is_live else frames)
