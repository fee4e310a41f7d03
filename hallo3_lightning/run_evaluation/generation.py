"""Generation: how the clips of an evaluation are made, written down beside them so that they are never mixed."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from datamodules.claim import write_json
from hallo3_lightning.ablation.meaning import results_of
from hallo3_lightning.ablation.runs import RunFolder
from hallo3_lightning.errors import UsageError
from hallo3_lightning.evaluation.recipe import Recipe
from hallo3_lightning.run_evaluation.trained import Trained, trained

FILE = "generation.json"
KNOWN = ("seeds", "guidance", "steps")
"""What a protocol may say of how clips are generated; what it leaves open (null) is the run's own."""


@dataclass(frozen=True)
class Generation:
    """Everything that the pixels of the clips depend on."""

    run: str
    """A fingerprint of the run's own settings: its folder may be moved."""
    step: int
    """Of the weights, which are the averaged ones."""
    data: str
    clips: int
    frames: int
    given_frames: int
    """Leading true frames that the first window is given as motion frames."""
    seed: int
    """Of the noise, and of which frame is the reference."""
    sampler: str
    sampling_steps: int
    guidance: float
    precision: str
    device: str


def run_under(folder: Path, recipe: Recipe) -> Trained:
    """A run with what the protocol says of generation in place of its own settings. Raises UsageError."""
    told = dict(recipe.generation)
    strange = sorted(told.keys() - set(KNOWN))
    if strange:
        raise UsageError(f"protocol {recipe.name}: generation has {', '.join(strange)}; it may have {', '.join(KNOWN)}")
    seeds = told.get("seeds")
    if seeds is not None and len(seeds) != 1:
        raise UsageError(
            f"protocol {recipe.name}: generation.seeds is {seeds}; one evaluation is of one seed: give one, or null for "
            "the run's own, and make a protocol for each further one"
        )
    chosen = {
        "seed_everything": None if seeds is None else seeds[0],
        "model.sampling.guidance": told.get("guidance"),
        "model.sampling.steps": told.get("steps"),
        "data.eval_frames": recipe.frames,
    }
    run = trained(folder, {key: value for key, value in chosen.items() if value is not None})
    try:
        _ = run.settings  # read before anything that could be blamed on the protocol
    except UsageError as error:
        raise UsageError(f"settings of the run {folder}: {error}") from error
    return run


def generation_of(run: Trained, device: str) -> Generation:
    """How the clips of a run are made on a device."""
    settings, data = run.settings, run.data()
    model, sampling = settings["model"], settings["model"]["sampling"]
    return Generation(
        run=_fingerprint(run.folder),
        step=run.step,
        data=data.held_out_index.digest,
        clips=data.num_test_clips,
        frames=data.eval_frames,
        given_frames=model["motion_frames"],
        seed=settings["seed_everything"],
        sampler=sampling["sampler"],
        sampling_steps=sampling["steps"],
        guidance=sampling["guidance"],
        precision=str(settings["trainer"]["precision"] or "32-true"),
        device=device.partition(":")[0],
    )


def claim(out: Path, wanted: Generation, *, speaks_for: str) -> None:
    """Write down how the clips of a folder are made. Raises UsageError where others are there, naming the difference.

    speaks_for: the protocol, for the message.
    """
    file = out / FILE
    made = _read(file)
    if made is None:
        out.mkdir(parents=True, exist_ok=True)
        write_json(file, asdict(wanted))
        return
    asked = asdict(wanted)
    differing = [f"{key} {made.get(key)} there, {value} now" for key, value in asked.items() if made.get(key) != value]
    if differing:
        raise UsageError(
            f"the clips in {out} were generated otherwise than {speaks_for} asks for now ({'; '.join(differing)}); remove "
            "that folder to generate them anew, or give another with --out"
        )


def _fingerprint(folder: Path) -> str:
    settings = json.dumps(results_of(RunFolder(folder).config()), sort_keys=True, default=str)
    return hashlib.blake2b(settings.encode(), digest_size=4).hexdigest()


def _read(file: Path) -> Mapping[str, Any] | None:
    try:
        made = json.loads(file.read_text())
    except FileNotFoundError:
        return None
    except ValueError:
        made = None
    if not isinstance(made, dict):
        raise UsageError(
            f"{file} does not say how the clips beside it were made; remove that folder, or give another --out"
        )
    return made
