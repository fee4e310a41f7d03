"""What stays in the precision of its weights where the rest is computed in bfloat16."""

from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from torch import Tensor


def uncast(like: Tensor) -> AbstractContextManager[Any]:
    """A context without autocast on the tensor's device, for what acts once a clip: it costs nothing to be exact there.

    Time embedding and modulation in float32 take an eighth off the error of bf16-mixed (experiments/LOG.md).
    """
    device = like.device.type
    # the meta device knows no autocast
    return torch.autocast(device, enabled=False) if torch.amp.is_autocast_available(device) else nullcontext()
