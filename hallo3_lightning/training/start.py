"""What a phase starts from: the weights of the phase before, or published ones."""

from pathlib import Path

from lightning.pytorch.utilities import rank_zero_warn
from torch import Tensor

from hallo3_lightning.denoiser import Denoiser
from hallo3_lightning.errors import UsageError
from hallo3_lightning.training.checkpoints import refuse_other_sizes, weights
from hallo3_lightning.weights.folder import is_weights


def starting_weights(denoiser: Denoiser, source: str) -> dict[str, Tensor]:
    """Averaged weights for a denoiser, by name; what is new in this phase keeps its fresh values.

    An audio strategy that this run has another one for is left out, so that arms can start from published weights.
    Of a pretrained backbone alone, which no phase trained, the reference network too begins as a copy.
    """
    given = averaged(weights(Path(source)))
    backbone_alone = is_weights(Path(source)) and all(name.startswith("transformer.") for name in given)
    new = ("identity", "audio") if backbone_alone else ("audio",)
    given = denoiser.completed(given) if backbone_alone else given
    refuse_other_sizes(denoiser, given, f"the checkpoint '{source}'")
    own = denoiser.state_dict().keys()
    missing, others = own - given.keys() - denoiser.unread(), given.keys() - own
    fresh = [name for name in sorted(missing) if not any(_belongs_to(name, kind) for kind in new)]
    replaced = [name for name in sorted(others) if _belongs_to(name, "audio")]
    unexpected = sorted(set(others) - set(replaced))
    if fresh or unexpected:
        raise UsageError(
            f"the checkpoint of {source} does not fit this model: {len(fresh)} parameters missing "
            f"({', '.join(fresh[:3])}{', ...' if len(fresh) > 3 else ''}), {len(unexpected)} unexpected "
            f"({', '.join(unexpected[:3])}{', ...' if len(unexpected) > 3 else ''}); "
            "give both phases the same model.backbone, model.identity and model.options"
        )
    if replaced:
        rank_zero_warn(f"{source}: its audio strategy is not this run's; {len(replaced)} parameters are left out")
    return {name: value for name, value in given.items() if name in own}


def averaged(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """The denoiser's part of a phase's state, with the moving average in place of what it follows."""
    denoiser = {k.removeprefix("denoiser."): v for k, v in state.items() if k.startswith("denoiser.")}
    average = {k.removeprefix("average.").replace("/", "."): v for k, v in state.items() if k.startswith("average.")}
    return denoiser | {k: v for k, v in average.items() if k in denoiser}


def _belongs_to(name: str, kind: str) -> bool:
    return name.startswith(f"conditioners.{kind}_") or f".adapters.{kind}_" in name
