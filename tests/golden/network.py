"""Our denoiser with the weights of a recorded network."""

from dataclasses import replace
from typing import Any

from torch import Tensor

from hallo3_lightning.batch import Batch
from hallo3_lightning.conditioning.conditioner import Inputs, conditioners
from hallo3_lightning.denoiser import Denoiser
from hallo3_lightning.model.transformer import Backbone
from hallo3_lightning.weights.names import mapped
from hallo3_lightning.weights.rows import cut

AUDIO = {"s1": "none", "s2": "cross_attention", "short": "cross_attention"}
"""The audio strategy of each recorded network: "s1" was never shown audio, "short" has shorter clips."""


def published_weights(goldens: Any, stage: str) -> dict[str, Tensor]:
    """Both networks of a recorded stage, under the published names."""
    return goldens.tensors(f"{stage}_weights_model") | goldens.tensors(f"{stage}_weights_ref")


def published_network(goldens: Any, stage: str) -> Denoiser:
    """Of stage "s1", "s2" or "short", in evaluation mode; every one of our parameters is loaded."""
    network = fresh(goldens.config, AUDIO[stage], goldens.config["short_latent_frames"] if stage == "short" else None)
    network.load_state_dict(ours(published_weights(goldens, stage)), strict=True)
    return network.eval()


def ours(published: dict[str, Tensor]) -> dict[str, Tensor]:
    found = mapped(published)
    assert found.unknown == []
    return {name: cut(published[where.published], where) for name, where in found.cuts.items()}


def recorded_batch(tensors: dict[str, Tensor], **renamed: str) -> Batch:
    """The conditions of a recorded evaluation; `renamed` says where the file calls a field something else."""
    places = {
        "motion_latents": "in.concat_latents",
        "reference_latents": "in.ref_latents",
        "text_embeddings": "in.text",
        "face_embedding": "in.face_emb",
        "audio_features": "in.audio_emb",
    } | renamed
    given: dict[str, Any] = {field: tensors.get(name) for field, name in places.items()}
    return Batch(keys=tuple("golden" for _ in given["text_embeddings"]), **given)


def fresh(config: dict[str, int], audio: str, latent_frames: int | None = None, dead_layer: bool = False) -> Denoiser:
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
    size = size if latent_frames is None else replace(size, latent_frames=latent_frames)
    inputs = Inputs(config["a_blocks"], config["a_channels"], config["f_in"])
    options = {
        "reference_network": {"caption": "caption_in_training", "dead_layer": dead_layer},
        "face_attention": {"tokens": config["f_tokens"], "width": config["f_dim"]},
        "cross_attention": {"tokens": config["a_tokens"], "width": config["a_dim"], "hidden": config["a_inter"]},
    }
    identity = conditioners("identity", "reference_network+face_attention", size, inputs, options)
    return Denoiser(size, identity | conditioners("audio", audio, size, inputs, options))
