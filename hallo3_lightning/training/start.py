"""What a phase starts from: the weights of the phase before, or published ones."""

from pathlib import Path

from lightning.pytorch.utilities import rank_zero_warn
from torch import Tensor

from hallo3_lightning.conditioning.conditioner import kind_and_name, owner
from hallo3_lightning.denoiser import Denoiser
from hallo3_lightning.errors import UsageError
from hallo3_lightning.training.checkpoints import refuse_other_sizes, weights
from hallo3_lightning.weights.folder import is_weights


def starting_weights(denoiser: Denoiser, source: str) -> dict[str, Tensor]:
    """Averaged weights for a denoiser, by name; what is new in this phase keeps its fresh values.

    Of a conditioner, all of its parameters are given or none. An audio strategy that this run has another one for is
    left out, so that arms can start from published weights. Of a pretrained backbone alone, which no phase trained,
    the reference network too begins as a copy.
    """
    given = averaged(weights(Path(source)))
    backbone_alone = is_weights(Path(source)) and not any(map(owner, given))
    new = ("identity", "audio") if backbone_alone else ("audio",)
    given = denoiser.completed(given) if backbone_alone else given
    refuse_other_sizes(denoiser, given, f"the checkpoint '{source}'")
    own = denoiser.state_dict().keys()
    missing, others = own - given.keys() - denoiser.unread(), given.keys() - own
    told = {name for name in map(owner, given) if name is not None}
    fresh = {name for name in denoiser.conditioners if name not in told and kind_and_name(name)[0] in new}
    foreign = {name for name in told - denoiser.conditioners.keys() if kind_and_name(name)[0] == "audio"}
    lacking = sorted(name for name in missing if owner(name) not in fresh)
    unexpected = sorted(name for name in others if owner(name) not in foreign)
    if lacking or unexpected:
        raise UsageError(
            f"the checkpoint of {source} does not fit this model: {len(lacking)} parameters missing "
            f"({', '.join(lacking[:3])}{', ...' if len(lacking) > 3 else ''}), {len(unexpected)} unexpected "
            f"({', '.join(unexpected[:3])}{', ...' if len(unexpected) > 3 else ''}); "
            "give both phases the same model.backbone, model.identity and model.options"
        )
    if foreign:
        left = len(others) - len(unexpected)
        rank_zero_warn(f"{source}: its audio strategy is not this run's; {left} parameters are left out")
    return {name: value for name, value in given.items() if name in own}


def averaged(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """The denoiser's part of a phase's state, with the moving average in place of what it follows."""
    denoiser = {k.removeprefix("denoiser."): v for k, v in state.items() if k.startswith("denoiser.")}
    average = {k.removeprefix("average.").replace("/", "."): v for k, v in state.items() if k.startswith("average.")}
    return denoiser | {k: v for k, v in average.items() if k in denoiser}
