"""How a window is made to meet the one before it."""

from collections.abc import Iterator

import torch
from torch import Tensor


def blended(decoded: Iterator[Tensor], given: Tensor, over: int) -> Iterator[Tensor]:
    """Frames [B, f, 3, H, W] of a window as they are decoded, so that they go on from what was last seen.

    A window shows its motion frames once more, and never quite as they were given: [B, n, 3, H, W], in the same
    range. What the last of them is off is added to it in full and to the `over` frames behind it less and less, in
    equal steps; nothing changes for n = 0 or `over` = 0. The motion frames before the last stay as they were
    decoded: nobody sees them again.
    """
    last, seen, off = given.shape[1] - 1, 0, None
    for frames in decoded:
        if last < 0 or over == 0:
            yield frames
            continue
        if seen <= last < seen + frames.shape[1]:
            off = given[:, last] - frames[:, last - seen]
        if off is not None:  # shares are plain numbers: a tensor of them would wait for the GPU in every chunk
            shares = [_share(place - last, over) for place in range(seen, seen + frames.shape[1])]
            shown = [frame + share * off for frame, share in zip(frames.unbind(1), shares, strict=True)]
            frames = torch.stack(shown, dim=1)
        seen += frames.shape[1]
        yield frames


def _share(behind: int, over: int) -> float:
    """Of what is added so many frames behind the last motion frame."""
    return 0 if behind < 0 else max(1 - behind / (over + 1), 0)
