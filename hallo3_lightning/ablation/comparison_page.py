"""A comparison as lines and cells, the same for every format: arms, then controls, then what others claim."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from hallo3_lightning.ablation.controls import beats, differs
from hallo3_lightning.ablation.numerals import counted, number, p_value, words
from hallo3_lightning.ablation.results import CEILINGS
from hallo3_lightning.ablation.status import duration

FACTS = ("seeds", "clips", "trainable parameters", "steps", "time")

UNFAIR = 0.05
"""Arms whose trainable parameters differ by more than this share are not a fair comparison."""

BETTER = {True: "↑", False: "↓"}

DISTANCE = "off target"
"""Behind a difference of how far two arms are from their target."""

MARKS = {"best": "●", "even": "○"}

Kind = Literal["arm", "control", "ceiling", "claimed"]


@dataclass(frozen=True)
class Cell:
    """One line's numbers in one metric, as text; "" where there is none. gap: of the baseline, with interval and p."""

    score: str = "–"
    mark: str = ""
    gap: str = ""
    interval: str = ""
    p: str = ""
    coverage: str = ""


@dataclass(frozen=True)
class Line:
    """One line of the table; facts are seconds and counts of an arm, in the order of FACTS."""

    kind: Kind
    label: str
    cells: Mapping[str, Cell]
    facts: tuple[str, ...] = ("",) * len(FACTS)


def metrics(comparison: Mapping[str, Any]) -> dict[str, Mapping[str, Any]]:
    """Metric -> numbers of some arm, which say its unit and direction; those that decide come first."""
    known = {name: told for arm in comparison["arms"] for name, told in arm["metrics"].items()}
    first = {name: known[name] for name in comparison["decide_by"] if name in known}
    return {**first, **known}


def heading(name: str, told: Mapping[str, Any]) -> str:
    """A metric's name and which way is better: more, less, nearer to zero or to the true clip's."""
    return f"{words(name)} {BETTER.get(told['higher_is_better'], '→' + str(told['target']))}"


def lines(comparison: Mapping[str, Any]) -> Iterator[Line]:
    """Arms in the order of the grid; floors, then ceilings; an arm's claimed figures, a line a source."""
    for arm in comparison["arms"]:
        cells = {name: _cell(told) for name, told in arm["metrics"].items()}
        yield Line("arm", arm["name"] + " *" * (arm["name"] == comparison["baseline"]), cells, _facts(arm))
    for name in sorted(comparison["controls"], key=CEILINGS.__contains__):
        kind: Kind = "ceiling" if name in CEILINGS else "control"
        cells = {metric: Cell(_spread(told)) for metric, told in comparison["controls"][name].items()}
        yield Line(kind, f"{kind}: {words(name)}", cells)
    for arm, claims in comparison["claimed"].items():
        for source in dict.fromkeys(claim["source"] for claim in claims.values()):
            cells = {name: Cell(number(c["value"])) for name, c in claims.items() if c["source"] == source}
            yield Line("claimed", f"claimed by {source}: {arm}", cells)


def _cell(told: Mapping[str, Any]) -> Cell:
    coverage = told["coverage"]
    gap = told.get("difference")
    return Cell(
        score=_spread(told),
        mark=MARKS.get(told.get("mark", ""), ""),
        coverage="" if coverage is None or coverage == 1 else f"{100 * coverage:.0f} % scored",
        **({} if gap is None else _gap(gap, told["higher_is_better"] is None)),
    )


def _gap(gap: Mapping[str, Any], of_distances: bool) -> dict[str, str]:
    """of_distances: where neither more nor less is better, and the number is not that of the scores above it."""
    corrected, plain = gap["corrected_p"], gap["p"]
    known = gap["low"] is not None
    return {
        "gap": number(gap["mean"], signed=True) + f" {DISTANCE}" * of_distances,
        "interval": f"[{number(gap['low'], signed=True)}, {number(gap['high'], signed=True)}]" if known else "",
        "p": f"p {p_value(corrected)}" if corrected is not None else f"(p {p_value(plain)})",
    }


def _spread(told: Mapping[str, Any]) -> str:
    return number(told["mean"]) + ("" if told["std"] is None else f" ±{_like(told['std'], told['mean'])}")


def _like(std: float, mean: float) -> str:
    """With the digits of the mean."""
    return f"{std:.{3 if abs(mean) < 10 else 2}f}"


def _facts(arm: Mapping[str, Any]) -> tuple[str, ...]:
    counts = ["" if arm[key] is None else f"{arm[key]:,}" for key in ("trainable_parameters", "steps")]
    return (
        str(len(arm["seeds"])),
        str(arm["clips"]),
        *counts,
        "" if arm["seconds"] is None else duration(arm["seconds"]),
    )


def caption(comparison: Mapping[str, Any]) -> str:
    """What stands under the table."""
    protocol = comparison["protocol"]
    notes = [*comparison["stamps"], "mean ± deviation over seeds", f"protocol {protocol.get('id')} {protocol['hash']}"]
    notes += ["↑ higher is better, ↓ lower, → nearer to zero or to the true clip's"]
    notes += [comparison["people"]]
    gaps = [
        told["difference"] for arm in comparison["arms"] for told in arm["metrics"].values() if "difference" in told
    ]
    if gaps:
        deciding = ", ".join(map(words, comparison["decide_by"]))
        notes += [
            "below it the difference to the baseline (*) with its 95 % interval; where → that of how far each is off its target, less being better",
            f"p corrected (Holm) over arms in what decides, {deciding}, and (p) plain elsewhere",
        ]
    if any("mark" in told for arm in comparison["arms"] for told in arm["metrics"].values()):
        notes.append("● best, ○ not distinguishable from the best")
    if any("draws" in gap for gap in gaps):
        notes.append("intervals of distances of sets are over clips alone")
    return "; ".join(notes)


def fact_lines(comparison: Mapping[str, Any]) -> list[str]:
    """The facts of each arm in words, for a terminal too narrow for their columns."""
    return [
        f"{line.label}: "
        + ", ".join(
            counted(fact, name.removesuffix("s")) if name.endswith("s") else f"{fact} {name}"
            for name, fact in zip(FACTS, line.facts, strict=True)
            if fact
        )
        for line in lines(comparison)
        if line.kind == "arm"
    ]


def sentences(comparison: Mapping[str, Any]) -> list[str]:
    """What the numbers say, in words: the verdicts, each arm against its control, and what to be careful of."""
    said = [verdict["sentence"] for verdict in comparison["verdicts"]] + list(comparison["notes"])
    for arm in comparison["arms"]:
        for metric, gain in arm["above_control"].items():
            said += [_against_control(arm["name"], metric, gain), *_disagreement(arm, metric)]
    return [*said, *_fairness(comparison["arms"]), *_claims_aside(comparison)]


def _against_control(arm: str, metric: str, gain: Mapping[str, Any]) -> str:
    control = f"{words(gain['control'])} control in {words(metric)}"
    numbers = f"{gain['difference']:+.3f} ± {gain['std_error']:.3f} over {gain['clips']} clips"
    if not differs(gain):
        return f"{arm} shows no difference to its {control} ({numbers})."
    verb = "beats" if beats(gain) else "falls below"
    size = "no spread" if gain["std_errors"] is None else f"{abs(gain['std_errors']):.1f} standard errors"
    return f"{arm} {verb} its {control} by {size} ({numbers})."


def _disagreement(arm: Mapping[str, Any], metric: str) -> list[str]:
    """A mean over seeds of which some have learned and some have not is the score of neither."""
    by_seed = {seed: gains[metric] for seed, gains in arm["above_control_by_seed"].items() if metric in gains}
    level = [f"{arm['name']}-seed{seed}" for seed, gain in by_seed.items() if not beats(gain)]
    if not level or len(level) == len(by_seed):
        return []
    does = "does" if len(level) == 1 else "do"
    others = counted(len(by_seed) - len(level), "other seed")
    return [
        f"Careful: {', '.join(level)} {does} not beat the control in {words(metric)}, {others} of {arm['name']} did."
    ]


def _fairness(arms: Sequence[Mapping[str, Any]]) -> list[str]:
    known = {arm["name"]: arm["trainable_parameters"] for arm in arms if arm["trainable_parameters"]}
    if not known or max(known.values()) <= (1 + UNFAIR) * min(known.values()):
        return []
    few, many = min(known, key=known.__getitem__), max(known, key=known.__getitem__)
    return [
        f"Careful: {many} trains {known[many]:,} parameters and {few} {known[few]:,} "
        f"({known[many] / known[few] - 1:.0%} more): a difference between them may be one of size."
    ]


def _claims_aside(comparison: Mapping[str, Any]) -> list[str]:
    """What is claimed in metrics that nothing here was scored by, and so has no column."""
    known = metrics(comparison)
    return [
        f"Claimed by {claim['source']}, not measured here: {words(name)} {number(claim['value'])} of {arm}."
        for arm, claims in comparison["claimed"].items()
        for name, claim in claims.items()
        if name not in known
    ]
