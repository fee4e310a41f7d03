"""What a whole frame looks like: CLIP's ViT-B/32 for pictures (arXiv 2103.00020), for background consistency.

The network is that of transformers, and names of tensors are its: the file is that of
huggingface.co/openai/clip-vit-base-patch32. OpenAI's own ViT-B-32.pt holds a program, which is not run here.
"""

import torch
from einops import rearrange
from torch import Tensor
from transformers import CLIPVisionConfig, CLIPVisionModelWithProjection

from hallo3_lightning.backbones.framing import middle, shorter_side_to

SIZE = 224
"""Pixels a side of the picture that the network sees."""

MEAN, DEVIATION = (0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)
"""Of red, green and blue of what it was trained on, 0..1."""

CONFIG = CLIPVisionConfig(
    hidden_size=768,
    intermediate_size=3072,
    projection_dim=512,
    num_hidden_layers=12,
    num_attention_heads=12,
    image_size=SIZE,
    patch_size=32,
    hidden_act="quick_gelu",
)


def prepared(frames: Tensor) -> Tensor:
    """Levels [F, 3, H, W] uint8 -> [F, 3, 224, 224] in deviations from the mean: bicubic, not smoothed, and the middle of
    it (VBench)."""
    mean, deviation = (
        rearrange(torch.tensor(values, device=frames.device), "c -> c 1 1") for values in (MEAN, DEVIATION)
    )
    seen = middle(shorter_side_to(frames, SIZE, "bicubic"), SIZE)
    return (seen / 255 - mean) / deviation


class Clip(CLIPVisionModelWithProjection):
    """CLIP's ViT-B/32 for pictures."""

    def __init__(self) -> None:
        super().__init__(CONFIG)

    def features(self, pictures: Tensor) -> Tensor:
        """Prepared pictures [B, 3, 224, 224] -> features [B, 512]."""
        return self(pixel_values=pictures).image_embeds
