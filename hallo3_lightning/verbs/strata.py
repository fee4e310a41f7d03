import argparse
from collections.abc import Sequence
from pathlib import Path

from hallo3_lightning.errors import UsageError

HELP = "scores by pose, light, background and length of the clips"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("rows", type=Path, help="a rows.jsonl, or the folder of a tested run or of an evaluation")
    parser.add_argument(
        "--by", nargs="+", default=None, metavar="CONDITION", help="yaw, light, ... (all that are known)"
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
    parser.add_argument("--out", type=Path, default=None, help="folder for strata.json, .md and .png (beside the rows)")


def run(
    rows: Path, by: Sequence[str] | None, metric: Sequence[str], conditions: Path | None, least: int, seed: int, out: Path | None
) -> int:  # fmt: skip
    import json

    from hallo3_lightning.ablation.places import check_folder
    from hallo3_lightning.ablation.runs import write_atomically
    from hallo3_lightning.ablation.status import page_console
    from hallo3_lightning.evaluation import strata, strata_page
    from hallo3_lightning.evaluation.rows_file import read, with_conditions

    if least < 2:
        raise UsageError(f"--least is {least}; a mean needs 2 clips to have an interval")
    folder = out or (rows if rows.is_dir() else rows.parent)
    check_folder("--out", folder)
    found = read(rows) if conditions is None else with_conditions(read(rows), conditions)
    wanted = by or sorted(name for name, values in found.conditions.items() if values)
    if not wanted:
        wanted = ["yaw"]  # whose absence says what to give
    parts = [strata.stratified(found, name, metric, least, seed) for name in wanted]
    console = page_console()
    for part in parts:
        console.print(strata_page.table(part, found))
        for sentence in [strata_page.caption(part, found, least), *strata_page.sentences(part)]:
            console.print(sentence, soft_wrap=True, highlight=False, markup=False)
    write_atomically(folder / "strata.json", json.dumps(strata_page.page(parts, found), indent=1, allow_nan=False))
    write_atomically(folder / "strata.md", "\n".join(strata_page.markdown(part, found, least) for part in parts))
    strata_page.draw(parts, found, folder / "strata.png")
    console.print(f"written to {folder}", soft_wrap=True, highlight=False, markup=False)
    return 0
