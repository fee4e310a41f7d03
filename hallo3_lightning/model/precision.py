"""What stays in the precision of its weights where the rest is computed in bfloat16."""

import torch
from torch import Tensor


def uncast(like: Tensor) -> torch.autocast:
    """A context without autocast on the tensor's device, for what acts once a clip: it costs nothing to be exact there.

    Time embedding and modulation in float32 take an eighth off the error of bf16-mixed (experiments/LOG.md).
    """
    return torch.autocast(like.device.type, enabled=False)
