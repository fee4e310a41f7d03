"""table.md: what an evaluation found, as one page of Markdown."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from hallo3_lightning.evaluation.counted import counted
from hallo3_lightning.evaluation.folders import Pairing
from hallo3_lightning.evaluation.recipe import Recipe
from hallo3_lightning.evaluation.scoring import Scores

ARROWS = {True: "↑", False: "↓", None: ""}

Row = Mapping[str, Any]


def page(recipe: Recipe, pairing: Pairing, scores: Scores, stamp: str | None, weights: Mapping[str, Any]) -> str:
    """The whole of it; stamp: of numbers that are no scores."""
    parts = [
        *([f"# {stamp}: all weights are invented\n"] if stamp else []),
        _what(recipe, pairing),
        *([_made(scores.told.generation)] if scores.told.generation else []),
        _of_videos(scores, stamp),
        *([_of_truth(scores.told.metrics, stamp)] if scores.told.metrics else []),
        *([_alarms(scores)] if scores.alarms else []),
        *_without_score(scores),
    ]
    notes = [*(f"{count} {note}" for note, count in scores.notes.items()), *scores.told.notes]
    notes += [
        f"weights {name}: {told['state']}"
        for name, told in weights.items()
        if not told.get("state", "present").startswith("present")
    ]
    parts += _listed("To know:", notes)
    parts += _listed(f"What {recipe.id} leaves open, and how it is filled:", recipe.choices)
    return "\n".join(parts)


def _what(recipe: Recipe, pairing: Pairing) -> str:
    said = {
        side: f"{counted(len(pairing.clips(side)), 'clip')} of {folder.name}"
        for side, folder in pairing.folders.items()
    }
    if "real" not in said:
        return f"Protocol {recipe.name}: {said['fake']}, without true videos to compare with (--real FOLDER).\n"
    return f"Protocol {recipe.name}: {said['fake']} against {said['real']}{'' if pairing.paired else ', as sets'}.\n"


def _made(generation: Mapping[str, Any]) -> str:
    """How the clips of a run were made."""
    return "Generated with " + ", ".join(f"{name} {value}" for name, value in generation.items()) + ".\n"


def _of_videos(scores: Scores, stamp: str | None) -> str:
    heads = ["metric", "protocol", "fake", "real*", "by chance", "unit", "scored", "frames used"]
    rows = [[*_cells(name, told), *([stamp] if stamp else [])] for name, told in scores.metrics.items()]
    return _table([*heads, *([""] if stamp else [])], rows) + (
        "\n*real: the same number of the real clips; for a distance of sets, of two halves of them, which is what so few "
        "clips of one distribution give. By chance: the clips with their own sound more than a second late. ±: standard "
        "error over clips.\n"
    )


def _cells(name: str, told: Row) -> list[str]:
    used = told["frames_used"]
    return [
        f"{told['title']} {ARROWS[told['higher_is_better']]}".strip(),
        name,
        _with_error(told) + (" (few clips)" if told["few"] else ""),
        _number(told["real"]["value"]),
        _number(told.get("floor", {}).get("value")),
        told["unit"] or "1",
        f"{told['n']} of {told['of']}",
        "-" if used is None else f"{used:.0%}" if isinstance(used, float) else f"{used} rows",
    ]


def _of_truth(metrics: Mapping[str, Row], stamp: str | None) -> str:
    """Scores against the ground truth, beside what a generator without the skill and one without fault would have."""
    controls = list(dict.fromkeys(control for told in metrics.values() for control in told["controls"]))
    heads = ["against the truth", "protocol", "generated", *(c.replace("_", " ") for c in controls), "unit", "scored"]
    rows = [
        [
            f"{told['title']} {ARROWS[told['higher_is_better']]}".strip(),
            name,
            _with_error(told) + (" (few clips)" if told["few"] else ""),
            *(_with_error(told["controls"].get(control, {"value": None})) for control in controls),
            told["unit"] or "1",
            f"{told['n']} of {told['of']}",
            *([stamp] if stamp else []),
        ]
        for name, told in metrics.items()
    ]
    return _table([*heads, *([""] if stamp else [])], rows) + (
        "\nReconstruction: what the autoencoder alone makes of the true clips, the ceiling of any generator.\n"
    )


def _alarms(scores: Scores) -> str:
    said = [f"{'RINGS' if alarm.rings else 'quiet'}: {alarm.sentence}" for alarm in scores.alarms]
    return _listed("Alarms:", said)[0]


def _without_score(scores: Scores) -> Iterator[str]:
    yield from _listed("Not scored:", [f"{name}: {why}" for name, why in scores.not_scored.items()])
    yield from _listed(
        "What each missing file would add (put them in a folder, --weights-dir FOLDER):",
        [_file(name, told) for name, told in scores.missing.items()],
    )
    yield from _listed(
        "Clips without a score:", [line for name, told in scores.metrics.items() for line in _failures(name, told)]
    )


def _listed(head: str, lines: Sequence[str]) -> list[str]:
    """One part of the page; none where there is nothing to list."""
    return [f"{head}\n\n" + "".join(f"- {line}\n" for line in lines)] if lines else []


def _table(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [heads, ["---"] * len(heads), *rows]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def _file(name: str, told: Row) -> str:
    size = f"{told['bytes']:,} bytes" if told["bytes"] else "size unknown"
    return (
        f"{name} ({size}, sha256 {told['sha256'] or 'unknown'}): {', '.join(told['would_add'])}; from {told['source']}"
    )


def _failures(name: str, told: Row) -> Iterable[str]:
    if told.get("no_distance"):
        yield f"{name}: no distance of {told['no_distance']}"
    for side, statuses in (("fake", told["statuses"]), ("real", told["real"]["statuses"])):
        for status, count in statuses.items():
            yield f"{name}, {side}: {count} of them: {status}"


def _with_error(told: Row) -> str:
    error = told.get("std_error")
    return _number(told["value"]) + ("" if error is None else f" ± {error:.2g}")


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.4g}"
