"""Identity by a second transformer that reads the reference: the published choice."""

from collections.abc import Mapping
from typing import Literal

import torch
from einops import rearrange
from torch import Tensor

from hallo3_lightning.batch import Batch
from hallo3_lightning.conditioning.adapters import GuestTokens
from hallo3_lightning.conditioning.conditioner import Conditioner, Inputs
from hallo3_lightning.model.block import Block
from hallo3_lightning.model.positions import Rotary
from hallo3_lightning.model.sites import Adapter, Conditions
from hallo3_lightning.model.transformer import Backbone, Transformer, Trunk

Caption = Literal["zeros", "caption", "caption_in_training"]


class ReferenceBlock(Block):
    """A block that also gives what its self-attention sees of the video: one call, so that shards are gathered once."""

    def passed(
        self, video: Tensor, text: Tensor, time: Tensor, rotary: Rotary | None, conditions: Conditions
    ) -> tuple[Tensor, ...]:
        """Video and text behind the block, and what was seen [B, T, N, C]."""
        # of the class: where the object is sharded, its own would gather the block a second time
        return *super().passed(video, text, time, rotary, conditions), super().attention_input(video, time)


class ReferenceNetwork(Conditioner):
    """What each block of a copy of the backbone feeds to self-attention, for the reference at diffusion step 0.

    The reference's latents stand on both halves of the channels. Behind the last block's first norm nothing of the
    copy is read. Source: the published network, section 2 of the paper's method.

    Args:
        caption: the text that the copy reads: the clip's caption always, zeros always (its text projection then learns
            nothing), or, as published, the caption in training and zeros in sampling.
        dead_layer: whether what nothing reads is built all the same, as published: the rest of the last block and the
            output. It changes parameter counts and nothing else: no gradient would reach it, so that a run asks for none,
            and weights that lack it leave it as it is.
    """

    starts_neutral = False
    needs: tuple[str, ...] = ("reference_latents", "text_embeddings")

    def __init__(
        self, backbone: Backbone, inputs: Inputs, caption: Caption = "caption", dead_layer: bool = False
    ) -> None:
        super().__init__(backbone, inputs)
        self.caption = caption
        if caption == "zeros":
            self.needs = ("reference_latents",)
        self.network: Trunk = (Transformer if dead_layer else Trunk)(backbone, ReferenceBlock)
        last = self.network.blocks[-1]
        if not dead_layer:
            del last.attn1, last.norm2, last.ff

    def encode(self, batch: Batch) -> tuple[Tensor, ...]:
        """One tensor [B, N, C] a block."""
        assert batch.reference_latents is not None
        network, reference = self.network, batch.reference_latents
        latents = torch.cat([reference, reference], dim=2)
        text = self._text(batch, reference)
        time = network.time_embedding(torch.zeros(len(batch), device=reference.device))
        rotary = network.rotary(latents)
        video, text = network.patch_embed(latents, text)
        seen = []
        for block in network.blocks[:-1]:
            video, text, tokens = block(video, text, time, rotary, {})
            seen.append(tokens)
        seen.append(network.blocks[-1].attention_input(video, time))
        return tuple(rearrange(tokens, "b 1 n c -> b n c") for tokens in seen)

    def from_backbone(self, parameters: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """All of them: it begins as a copy."""
        own = self.network.state_dict()
        return {f"network.{name}": parameters[name] for name in own if name in parameters}

    def unread(self) -> set[str]:
        """The dead layer and the output, where they are built."""
        last = f"network.transformer_blocks.{len(self.network.blocks) - 1}"
        dead = (*(f"{last}.{part}." for part in ("attn1", "norm2", "ff")), "network.norm_", "network.proj_out.")
        return {name for name, _ in self.named_parameters() if name.startswith(dead)}

    def adapter(self, block: int) -> Adapter:
        return GuestTokens()

    def _text(self, batch: Batch, like: Tensor) -> Tensor:
        if self.caption == "caption" or (self.caption == "caption_in_training" and self.training):
            assert batch.text_embeddings is not None
            return batch.text_embeddings
        return like.new_zeros(len(batch), self.backbone.text_tokens, self.backbone.text_width)
