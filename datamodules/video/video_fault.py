"""Why a video cannot be read, before anyone knows whose video it is."""


class VideoFault(ValueError):
    """reason: a short fixed phrase to count by, as BadSample has it."""

    def __init__(self, reason: str, detail: str) -> None:
        super().__init__(detail)
        self.reason = reason
