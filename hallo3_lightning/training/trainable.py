"""Which parameters move: anchored globs, each of which must match, or the name of a published choice."""

from collections.abc import Collection, Iterable, Mapping
from fnmatch import fnmatchcase

from torch import nn

from hallo3_lightning.errors import unknown

_BLOCKS = "transformer.transformer_blocks.*"
_REFERENCE_BLOCKS = "conditioners.identity_reference_network.network.transformer_blocks.*"
_FACE = ("conditioners.identity_face_attention.*", f"{_BLOCKS}.adapters.identity_face_attention.*")
_AUDIO = ("conditioners.audio_cross_attention.*", f"{_BLOCKS}.adapters.audio_cross_attention.*")
_SELF_ATTENTION = (f"{_BLOCKS}.attn1.to_*", f"{_REFERENCE_BLOCKS}.attn1.to_*")

CHOICES: Mapping[str, tuple[str, ...]] = {
    "official_identity": (*_SELF_ATTENTION, f"{_BLOCKS}.norm2.norm.*", f"{_REFERENCE_BLOCKS}.norm2.norm.*", *_FACE),
    "official_audio": _AUDIO,
    "paper_identity": (*_SELF_ATTENTION, *_FACE),
    "paper_audio": _AUDIO,
}
"""Published choices by name. The official code selects by parts of names, and "attention" also finds the norms that it
calls post_attention_layernorm; the paper speaks of attention alone."""


def set_trainable(module: nn.Module, globs: Iterable[str]) -> list[str]:
    """Make exactly the parameters trainable whose whole name one of the globs matches; returns their names.

    Raises UsageError for a glob that matches nothing: it would silently train less than was asked for.
    """
    globs = [glob for given in globs for glob in CHOICES.get(given, (given,))]
    parameters = dict(module.named_parameters())
    for glob in globs:
        if not any(fnmatchcase(name, glob) for name in parameters):
            known = {_stem(name) for name in parameters} | set(CHOICES)
            raise unknown("parameter matching", glob, sorted(known), "model.trainable")
    for name, parameter in parameters.items():
        parameter.requires_grad_(any(fnmatchcase(name, glob) for glob in globs))
    return [name for name, parameter in parameters.items() if parameter.requires_grad]


def leave_out(module: nn.Module, unread: Collection[str]) -> list[str]:
    """Ask no gradient of parameters that reach nothing, as none would come; returns the names of those that train.

    DDP waits for the gradient of every parameter that asks for one.
    """
    for name in unread:
        module.get_parameter(name).requires_grad_(False)
    return [name for name, parameter in module.named_parameters() if parameter.requires_grad]


def _stem(name: str) -> str:
    return ".".join(name.split(".")[:2]) + ".*"
