"""A conditioner is one way for one signal to reach the video; a strategy is a file with one of them."""

import inspect
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from torch import Tensor, nn

from hallo3_lightning.batch import Batch
from hallo3_lightning.errors import UsageError, unknown
from hallo3_lightning.find import find
from hallo3_lightning.model.sites import Adapter, Signal
from hallo3_lightning.model.transformer import MOST, Backbone

NONE = "none"
TOGETHER = "+"
ADAPTERS = ".adapters."


@dataclass(frozen=True)
class Inputs:
    """Sizes of what the frozen encoders and the shards give.

    Args:
        audio_layers: layers of audio features a frame (wav2vec2-base: 12 hidden states).
        audio_channels: channels of an audio feature (wav2vec2-base: 768).
        face_width: length of the face embedding (insightface: 512).
    """

    audio_layers: int = 12
    audio_channels: int = 768
    face_width: int = 512

    def __post_init__(self) -> None:
        """Raise a UsageError for sizes that nothing can have."""
        for name, size in vars(self).items():
            if type(size) is not int or not 1 <= size < MOST:
                raise UsageError(f"inputs.{name} is {size!r}; give a whole number from 1 to {MOST - 1}")


class Conditioner(nn.Module):
    """Makes a signal of a batch, and an adapter for each block.

    Subclasses take (backbone, inputs) and options of their own with defaults: `--model.options.<name>.<option>`.
    """

    starts_neutral: ClassVar[bool]
    """Whether a fresh one leaves the backbone's output unchanged."""
    needs: tuple[str, ...]
    """Batch fields that `encode` reads; checked before the first step."""

    def __init__(self, backbone: Backbone, inputs: Inputs) -> None:
        super().__init__()
        self.backbone = backbone

    def encode(self, batch: Batch) -> Signal:
        """The signal, once a step in training and once a window in sampling."""
        raise NotImplementedError

    def from_backbone(self, parameters: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Those of its own parameters that begin as ones of a pretrained backbone, which are given by name."""
        return {}

    def unread(self) -> set[str]:
        """Names of those of its parameters that reach nothing, so that weights may lack them."""
        return set()

    def adapter(self, block: int) -> Adapter:
        """A fresh adapter for a block, which will own it."""
        raise NotImplementedError


def split(names: str) -> list[str]:
    """The strategies that a setting names: "a" -> [a], "a+b" -> [a, b], "none" -> []."""
    return [] if names == NONE else names.split(TOGETHER)


def strategies(kind: str, names: str) -> dict[str, type[Conditioner]]:
    """The classes that "--model.<kind> <names>" asks for, by file name, in the order named.

    Raises UsageError for a name that is no file of the folder, or that is named twice.
    """
    if len(set(split(names))) < len(split(names)):
        raise UsageError(f"--model.{kind} {names} names a strategy twice; name each once")
    return {name: find(f"conditioning.{kind}", name) for name in split(names)}


def conditioners(
    kind: str, names: str, backbone: Backbone, inputs: Inputs, options: Mapping[str, Mapping[str, Any]]
) -> dict[str, Conditioner]:
    """The conditioners that `--model.<kind> <names>` asks for, keyed "<kind>_<name>", in the order named.

    Raises UsageError for a name that is no file of the folder, and for an option its class does not take.
    """
    built = {}
    for name, strategy in strategies(kind, names).items():
        given = options.get(name, {})
        _check_options(name, strategy, given)
        built[f"{kind}_{name}"] = strategy(backbone, inputs, **given)
    return built


def owner(parameter: str) -> str | None:
    """The conditioner, "<kind>_<name>", that a parameter of the denoiser belongs to; None: the backbone.

    Adapters belong to their conditioner.
    """
    if parameter.startswith("conditioners."):
        return parameter.split(".")[1]
    return parameter.partition(ADAPTERS)[2].split(".")[0] or None


def kind_and_name(conditioner: str) -> tuple[str, str]:
    """ "audio_cross_attention" -> ("audio", "cross_attention")."""
    kind, _, name = conditioner.partition("_")
    return kind, name


def _check_options(name: str, strategy: type[Conditioner], given: Mapping[str, Any]) -> None:
    known = [p for p in inspect.signature(strategy.__init__).parameters if p not in ("self", "backbone", "inputs")]
    for option in given:
        if option not in known:
            raise unknown("option", option, known, where=f"model.options.{name}")
