"""How many of what, as one says it."""


def counted(count: int | str, noun: str) -> str:
    """1 clip, 2 clips."""
    return f"{count} {noun}" + "s" * (str(count) != "1")
