"""Numbers and names as a comparison writes them, the same in every format."""

from collections.abc import Sequence

from hallo3_lightning.evaluation.counted import counted as counted


def number(value: float, signed: bool = False) -> str:
    """Three digits after the point, two from ten on, and two that count where those would be nothing."""
    sign = "+" if signed else ""
    if 0 < abs(value) < 0.0005:
        return f"{value:{sign}.2g}"
    return f"{value:{sign}.{3 if abs(value) < 10 else 2}f}"


def p_value(p: float | None) -> str:
    """Two digits that count, and no more than a thousandth."""
    if p is None:
        return "–"
    return "< 0.001" if p < 0.001 else f"{p:.2g}"


def listed(names: Sequence[str]) -> str:
    """a, b and c."""
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"


def words(name: str) -> str:
    """A metric's or a control's name as words."""
    return name.replace("_", " ")
