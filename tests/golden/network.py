"""Our denoiser with the weights of a recorded network."""

from typing import Any

from torch import Tensor

from hallo3_lightning.conditioning.conditioner import Inputs, conditioners
from hallo3_lightning.denoiser import Denoiser
from hallo3_lightning.model.transformer import Backbone
from hallo3_lightning.weights.names import mapped
from hallo3_lightning.weights.rows import cut


def published_network(goldens: Any, stage: str) -> Denoiser:
    """Of stage "s1" or "s2", in evaluation mode; every one of our parameters is loaded."""
    network = fresh(goldens.config, audio="cross_attention" if stage == "s2" else "none")
    network.load_state_dict(
        ours(goldens.tensors(f"{stage}_weights_model") | goldens.tensors(f"{stage}_weights_ref")), strict=True
    )
    return network.eval()


def ours(published: dict[str, Tensor]) -> dict[str, Tensor]:
    found = mapped(published)
    assert found.unknown == []
    return {name: cut(published[where.published], where) for name, where in found.cuts.items()}


def fresh(config: dict[str, int], audio: str) -> Denoiser:
    """The published strategies at the sizes of a manifest."""
    size = Backbone(
        width=config["hidden"],
        heads=config["heads"],
        blocks=config["layers"],
        time_width=config["temb"],
        text_width=config["text_dim"],
        text_tokens=config["text_len"],
        latent_channels=config["latent_channels"],
        latent_height=config["lat_h"],
        latent_width=config["lat_w"],
        latent_frames=config["latent_frames"],
    )
    inputs = Inputs(config["a_blocks"], config["a_channels"], config["f_in"])
    options = {
        "reference_network": {"caption": "caption_in_training"},
        "face_attention": {"tokens": config["f_tokens"], "width": config["f_dim"]},
        "cross_attention": {"tokens": config["a_tokens"], "width": config["a_dim"], "hidden": config["a_inter"]},
    }
    identity = conditioners("identity", "reference_network+face_attention", size, inputs, options)
    return Denoiser(size, identity | conditioners("audio", audio, size, inputs, options))
