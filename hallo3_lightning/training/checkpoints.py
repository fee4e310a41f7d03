"""Checkpoints: a folder a step, complete or not there, of safetensors and JSON; any number of ranks reads what any wrote.

    step=N.ckpt/shard-*.safetensors   the tensors that each rank holds: `state_dict.<name>`, `optimizer.<i>.<name>.<slot>`
    step=N.ckpt/facts.json            everything else: loops, callbacks, schedules, progress in the data
    step=N.ckpt/complete.json         written last: the size of every other file

Nothing in it is pickled. The tensors are in the form of torch.distributed.checkpoint's HuggingFaceStorageWriter, which
keeps the place of each piece in the whole.
"""

import json
import re
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
import torch.distributed.checkpoint as dcp
from lightning import Trainer
from safetensors import SafetensorError
from torch import Tensor, nn
from torch.distributed.checkpoint import CheckpointException, HuggingFaceStorageReader
from torch.distributed.checkpoint.state_dict import (
    get_model_state_dict,
    get_optimizer_state_dict,
    set_optimizer_state_dict,
)
from torch.optim import Optimizer

from hallo3_lightning.errors import UsageError
from hallo3_lightning.weights.folder import is_weights
from hallo3_lightning.weights.folder import read as read_weights

UNREADABLE = (OSError, SafetensorError, RuntimeError, KeyError, ValueError)
"""What reading a damaged file raises."""

FACTS, COMPLETE = "facts.json", "complete.json"
MODEL, OPTIMIZER = "state_dict.", "optimizer."

warnings.filterwarnings("ignore", message=".*assuming the intent is to (load|save) in a single process")

Tensors = dict[str, Tensor]
Facts = dict[str, Any]


def newest(folder: Path) -> Path | None:
    """The complete checkpoint of the highest step in a folder, None when there is none."""
    return next((path for path in by_step(folder) if torn(path) is None), None)


def torn_after(folder: Path, chosen: Path | None) -> dict[Path, str]:
    """Checkpoints of later steps than the chosen one, and what each of them lacks."""
    later = [path for path in by_step(folder) if chosen is None or step_of(path) > step_of(chosen)]
    return {path: reason for path in later if (reason := torn(path)) is not None}


def torn(path: Path) -> str | None:
    """What a checkpoint lacks to be complete; None where nothing."""
    try:
        sizes = json.loads((path / COMPLETE).read_text())
        if FACTS not in sizes or not any(name.endswith(".safetensors") for name in sizes):
            return f"{COMPLETE} names no tensors or no {FACTS}"
        for name, size in sizes.items():
            found = (path / name).stat().st_size
            if found != size:
                return f"{name} has {found} of {size} bytes"
    except (OSError, ValueError, AttributeError, TypeError) as error:
        return f"{COMPLETE} or what it names cannot be read ({type(error).__name__})"
    return None


def step_of(checkpoint: Path) -> int:
    """The step in its name."""
    match = re.search(r"step=(\d+)", checkpoint.name)
    return int(match[1]) if match else 0


def step_at_hand(trainer: Trainer) -> int:
    """The step of the weights in use: where nothing was trained, that of the checkpoint they came from."""
    return trainer.global_step or (step_of(Path(trainer.ckpt_path)) if trainer.ckpt_path else 0)


def by_step(folder: Path) -> list[Path]:
    """Folders named step=N.ckpt, the highest step first."""
    named = [path for path in folder.glob("step=*.ckpt") if re.fullmatch(r"step=\d+\.ckpt", path.name)]
    return sorted((path for path in named if path.is_dir()), key=step_of, reverse=True)


# -- what Lightning saves, as tensors and facts, and back ----------------------------------------------------------


def taken_apart(checkpoint: Mapping[str, Any]) -> tuple[Tensors, Facts]:
    """Tensors by name, and what is left: numbers, words, lists. Optimizer states go by the names of parameters."""
    tensors = {f"{MODEL}{name}": value for name, value in checkpoint["state_dict"].items()}
    groups = []
    for i, state in enumerate(checkpoint.get("optimizer_states", [])):
        given = _by_name(state)
        groups.append(given["param_groups"])
        for name, slots in given["state"].items():
            tensors |= {f"{OPTIMIZER}{i}.{name}.{slot}": torch.as_tensor(value) for slot, value in slots.items()}
    facts = {key: value for key, value in checkpoint.items() if key not in ("state_dict", "optimizer_states")}
    return tensors, facts | {"optimizers": groups}


def put_together(tensors: Tensors, facts: Facts) -> dict[str, Any]:
    """What Lightning saved in a process that holds everything: optimizer states go by numbers."""
    states = []
    for i, groups in enumerate(facts["optimizers"]):
        numbers = {name: n for n, name in enumerate(name for group in groups for name in group["param_names"])}
        state: dict[int, Tensors] = {}
        prefix = f"{OPTIMIZER}{i}."
        for key in (key for key in tensors if key.startswith(prefix)):
            name, _, slot = key.removeprefix(prefix).rpartition(".")
            state.setdefault(numbers[name], {})[slot] = tensors[key]
        numbered = [group | {"params": [numbers[name] for name in group["param_names"]]} for group in groups]
        states.append({"state": state, "param_groups": [_tuples(group) for group in numbered]})
    rest = {key: value for key, value in facts.items() if key != "optimizers"}
    model = {key.removeprefix(MODEL): value for key, value in tensors.items() if key.startswith(MODEL)}
    return rest | {"state_dict": model, "optimizer_states": states}


def _by_name(state: Mapping[str, Any]) -> dict[str, Any]:
    """An optimizer's state with names of parameters for their numbers; sharded ones have names already."""
    names: dict[Any, str] = {}
    groups = []
    for group in state["param_groups"]:
        called = [str(name) for name in group.get("param_names", group["params"])]
        names |= dict(zip(group["params"], called, strict=True))
        rest = {key: value for key, value in group.items() if key not in ("params", "param_names")}
        groups.append(rest | {"param_names": called})
    return {"state": {names.get(key, key): slots for key, slots in state["state"].items()}, "param_groups": groups}


def _tuples(group: dict[str, Any]) -> dict[str, Any]:
    """JSON has lists alone; torch's optimizers have pairs of betas."""
    return group | {"betas": tuple(group["betas"])} if "betas" in group else group


# -- reading ---------------------------------------------------------------------------------------------------------


def outlines(path: Path, prefix: str = "") -> Tensors:
    """Tensors without numbers (on the meta device) for those of a checkpoint whose names begin so, from its headers."""
    try:
        found = HuggingFaceStorageReader(str(path)).read_metadata().state_dict_metadata
    except (OSError, SafetensorError, KeyError, ValueError) as error:
        raise _damaged(path, error) from None
    return {
        name: torch.empty(about.size, dtype=about.properties.dtype, device="meta")  # type: ignore[union-attr]
        for name, about in found.items()
        if name.startswith(prefix)
    }


def facts_of(path: Path) -> Facts:
    """What is in a checkpoint beside tensors."""
    try:
        return json.loads((path / FACTS).read_text())
    except (OSError, ValueError) as error:
        raise _damaged(path, error) from None


def tensors_of(path: Path, prefix: str = "") -> Tensors:
    """Whole tensors of a checkpoint whose names begin so, whatever the number of ranks that wrote them."""
    whole = {name: torch.empty_like(outline, device="cpu") for name, outline in outlines(path, prefix).items()}
    fill(path, whole, alone=True)
    return whole


def fill(path: Path, tensors: Tensors, alone: bool) -> None:
    """Read into tensors, whole or sharded, by their names; `alone` where no other rank takes part."""
    try:
        dcp.load(tensors, storage_reader=HuggingFaceStorageReader(str(path)), no_dist=alone)
    except UNREADABLE as error:
        raise _damaged(path, error) from None
    except CheckpointException as error:
        raise _of_ranks(path, error) from None


def _of_ranks(path: Path, error: CheckpointException) -> BaseException:
    """What befell the ranks: only what a file can cause is blamed on it. A signal is not, and ends whatever it ended."""
    failures = [failure for failure, _ in error.failures.values()]
    others = [failure for failure in failures if not isinstance(failure, UNREADABLE)]
    return others[0] if others else _damaged(path, failures[0])


def read_into(path: Path, module: nn.Module, optimizers: Sequence[Optimizer]) -> Facts:
    """Read a checkpoint into a sharded module and its optimizers; every rank calls it. Returns the rest."""
    facts = facts_of(path)
    states: list[dict[str, Any]] = [dict(get_optimizer_state_dict(module, optimizer)) for optimizer in optimizers]
    wanted, _ = taken_apart({"state_dict": get_model_state_dict(module), "optimizer_states": states})
    there = outlines(path)
    # what no gradient ever reached has no state in the checkpoint, and gets an empty one from torch when asked for it
    fill(path, {name: value for name, value in wanted.items() if name in there or name.startswith(MODEL)}, alone=False)
    groups_of_each = facts.pop("optimizers")[: len(optimizers)]  # none where nothing is trained
    for i, (optimizer, state, groups) in enumerate(zip(optimizers, states, groups_of_each, strict=True)):
        known = {
            name.removeprefix(f"{OPTIMIZER}{i}.").rpartition(".")[0] for name in there if name.startswith(OPTIMIZER)
        }
        for name, slots in state["state"].items():
            slots |= {slot: wanted[f"{OPTIMIZER}{i}.{name}.{slot}"] for slot in slots}
        state["param_groups"] = [
            own | {key: value for key, value in _tuples(saved).items() if key != "param_names"}
            for own, saved in zip(state["param_groups"], groups, strict=True)
        ]
        set_optimizer_state_dict(module, optimizer, state)
        for name, parameter in module.named_parameters():
            if name not in known:
                optimizer.state.pop(parameter, None)
    return facts


def weights(path: Path) -> Tensors:
    """What a phase would have saved: in a checkpoint, in the newest one of a run's folder, or in a folder of weights
    that `hallo3 import-weights` or `export-weights` wrote; nothing pickled is read.

    Raises UsageError when there is none or it cannot be read.
    """
    if is_weights(path):
        return {f"denoiser.{name}": value for name, value in read_weights(path).items()}
    return {name.removeprefix(MODEL): value for name, value in tensors_of(located(path), MODEL).items()}


def located(path: Path) -> Path:
    """The checkpoint that a path means: a complete one itself, or the newest of a run's folder.

    Raises UsageError where there is none.
    """
    given = path.name.endswith(".ckpt") and path.is_dir()
    found = path if given else newest(path / "checkpoints")
    if found is None:
        torn_ones = torn_after(path / "checkpoints", None).items()
        told = "".join(f"; '{one}' is torn ({reason})" for one, reason in torn_ones)
        raise UsageError(
            f"no checkpoint at '{path}'{' that is whole' if told else ''}{told}; give a step=N.ckpt folder, the folder of "
            "a run that saved one, or a folder of weights"
        )
    if (reason := torn(found)) is not None:
        raise UsageError(f"the checkpoint '{found}' is torn: {reason}; name another, or remove it")
    return found


def _damaged(path: Path, error: BaseException) -> UsageError:
    reason = " ".join(str(error).split())[:200]
    return UsageError(
        f"'{path}' is not a checkpoint of ours, or is damaged ({type(error).__name__}: {reason}); "
        "name another, or remove it to start without it"
    )


# -- does it fit -----------------------------------------------------------------------------------------------------


def refuse_another_model(module: nn.Module, given: Mapping[str, Any], source: str) -> None:
    """Raise a UsageError unless `given` (name -> tensor, or anything with a shape) is exactly the module's weights."""
    refuse_other_sizes(module, given, source)
    own = module.state_dict()
    differing = {"missing": [*(own.keys() - given.keys())], "unexpected": [*(given.keys() - own.keys())]}
    if any(differing.values()):
        said = ", ".join(f"{len(names)} {what} ({min(names)}, ...)" for what, names in differing.items() if names)
        raise UsageError(f"{source} is of another model: of its weights {said}; give both the same settings of model")


def refuse_other_sizes(module: nn.Module, given: Mapping[str, Any], source: str) -> None:
    """Raise a UsageError where a weight of `given` has another shape than the module's of that name."""
    own = module.state_dict()
    other = [name for name, value in given.items() if name in own and own[name].shape != value.shape]
    if other:
        raise UsageError(
            f"{source} is of a model of other sizes: {other[0]} is {list(given[other[0]].shape)} there and "
            f"{list(own[other[0]].shape)} here, and {len(other) - 1} more differ; give both the same model.backbone, "
            "model.inputs and model.options"
        )
