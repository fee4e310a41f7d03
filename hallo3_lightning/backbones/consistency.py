"""How much frames stay what they were, in features of a network: VBench's subject and background consistency."""

from torch import Tensor
from torch.nn.functional import cosine_similarity


def consistency(features: Tensor) -> float:
    """Mean over frames of a video, features [F, D], of the cosine to the frame before and to the first, 0 where negative.

    1 for a picture that stands still: tell it beside how much moves. Source: arXiv 2311.17982.
    """
    if len(features) < 2:
        raise ValueError(f"{len(features)} frames have no consistency; give at least 2")
    before = cosine_similarity(features[1:], features[:-1], dim=1)
    first = cosine_similarity(features[1:], features[:1], dim=1)
    return float((before.clamp(min=0) + first.clamp(min=0)).double().mean() / 2)
