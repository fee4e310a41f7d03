import argparse
from collections.abc import Sequence
from pathlib import Path

from hallo3_lightning.errors import UsageError

HELP = "scores by pose, light, background and length of the clips, arms side by side"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("rows", nargs="+", metavar="FOLDER", help="of tested runs or of evaluations (or a rows.jsonl): "
                        "runs of one arm are its seeds; others are arms of their own, or NAME=FOLDER")  # fmt: skip
    parser.add_argument(
        "--by", nargs="+", default=None, metavar="CONDITION", help="yaw, light, background, length, or your own (all)"
    )
    parser.add_argument("--metric", nargs="+", default=[], metavar="METRIC", help="(all)")
    parser.add_argument(
        "--conditions",
        type=Path,
        default=None,
        metavar="FILE",
        help='of your clips, lines like {"clip": "a", "yaw": 12}',
    )
    parser.add_argument("--least", type=int, default=30, help="clips under which a cell is greyed (%(default)s)")
    parser.add_argument("--seed", type=int, default=0, help="of the choice of clips (%(default)s)")
    parser.add_argument("--out", type=Path, default=None, help="folder for strata.json, strata.md and a picture a "
                        "condition (beside the rows; strata where there are several folders)")  # fmt: skip


def run(
    rows: Sequence[str], by: Sequence[str] | None, metric: Sequence[str], conditions: Path | None, least: int, seed: int,
    out: Path | None,
) -> int:  # fmt: skip
    import json
    from dataclasses import replace

    from hallo3_lightning.ablation.places import check_folder
    from hallo3_lightning.ablation.runs import write_atomically
    from hallo3_lightning.ablation.status import page_console
    from hallo3_lightning.evaluation import strata_page, strata_picture
    from hallo3_lightning.evaluation.arms import arms_of
    from hallo3_lightning.evaluation.rows_file import known_of
    from hallo3_lightning.evaluation.strata import known_values, stratified
    from hallo3_lightning.evaluation.strata_sets import with_sets

    if least < 2:
        raise UsageError(f"--least is {least}; a mean needs 2 clips to have an interval")
    found = arms_of(rows)
    folder = out or (found.arms[0].folders[0] if len(rows) == 1 else Path("strata"))
    check_folder("--out", folder)
    if conditions is not None:
        given = known_of(conditions, found.clips)
        found = replace(
            found,
            conditions={**found.conditions, **given.conditions},
            identities={**found.identities, **given.identities},
        )
    wanted = by or sorted(name for name, values in found.conditions.items() if values)
    parts = []
    for name in wanted or ["yaw"]:  # whose absence says what to give
        one = stratified(found, name, metric, least, seed)
        parts.append(with_sets(one, found, known_values(found, name), metric, seed))
    if not any(part.scores or part.sets for part in parts):
        raise UsageError(
            "no clip has a score in these rows, and no distance of sets has its features; score them first"
        )
    console = page_console()
    folder.mkdir(parents=True, exist_ok=True)
    for part in parts:
        console.print(strata_page.table(part, found))
        for sentence in [strata_page.caption(part, found, least), *strata_page.sentences(part)]:
            console.print(sentence, soft_wrap=True, highlight=False, markup=False)
        strata_picture.draw(part, found, folder / f"strata-{part.dimension.name}.png")
    write_atomically(folder / "strata.json", json.dumps(strata_page.page(parts, found), indent=1, allow_nan=False))
    write_atomically(folder / "strata.md", "\n".join(strata_page.markdown(part, found, least) for part in parts))
    console.print(f"written to {folder}", soft_wrap=True, highlight=False, markup=False)
    return 0
