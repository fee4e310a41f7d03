"""What a frozen encoder computes, as 16 hex digits: by the bytes of its weights and its settings, wherever they lie."""

import hashlib
import json
from collections.abc import Mapping
from typing import Any

import torch
from torch import nn

NOT_SETTINGS = ("transformers_version", "dtype", "torch_dtype", "architectures")
"""In a model's config: who wrote it and how, not what it computes."""


def fingerprint(encoder: nn.Module) -> str:
    """Of the encoder's class, its plain attributes, the configs and the vocabulary it holds, and its weights' bytes.

    The same weights in another folder give the same; another version of the libraries may compute a little otherwise and
    gives the same too.
    """
    digest = hashlib.blake2b(digest_size=8)
    digest.update(json.dumps(_settings(encoder), sort_keys=True, default=str).encode())
    for name, tensor in sorted(encoder.state_dict().items()):
        digest.update(f"{name} {tensor.dtype} {list(tensor.shape)}".encode())
        digest.update(tensor.detach().cpu().contiguous().flatten().view(torch.uint8).numpy())
    return digest.hexdigest()


def _settings(encoder: nn.Module) -> dict[str, Any]:
    kinds = (bool, int, float, str, tuple)
    attributes = {name: value for name, value in vars(encoder).items() if isinstance(value, kinds)}
    attributes.pop("training")
    configs = {name: _config(module.config) for name, module in encoder.named_modules() if hasattr(module, "config")}
    tokenizer = getattr(encoder, "tokenizer", None)
    words = {} if tokenizer is None else tokenizer.get_vocab()
    return {"class": type(encoder).__qualname__, "attributes": attributes, "configs": configs, "words": words}


def _config(config: Any) -> dict[str, Any]:
    """Of a transformers or a diffusers model; names that begin with an underscore are paths and versions."""
    values: Mapping[str, Any] = config if isinstance(config, Mapping) else config.to_dict()
    return {name: value for name, value in values.items() if name not in NOT_SETTINGS and not name.startswith("_")}
