"""How a window is made to meet the one before it."""

from collections.abc import Iterator

from torch import Tensor


def blended(decoded: Iterator[Tensor], given: Tensor, over: int) -> Iterator[Tensor]:
    """Frames [B, f, 3, H, W] of a window as they are decoded, so that they go on from what was last seen.

    A window shows its motion frames once more, and never quite as they were given: [B, n, 3, H, W], in the same
    range. What the last of them is off is added to it in full and to the `over` frames behind it less and less, in
    equal steps; nothing changes for n = 0 or `over` = 0.
    """
    last, seen, off = given.shape[1] - 1, 0, None
    for frames in decoded:
        if last < 0 or over == 0:
            yield frames
            continue
        if seen <= last < seen + frames.shape[1]:
            off = given[:, last] - frames[:, last - seen]
        if off is not None:
            behind = [max(place - last, 0) for place in range(seen, seen + frames.shape[1])]
            shares = frames.new_tensor([max(1 - place / (over + 1), 0) for place in behind])
            frames = frames + shares[:, None, None, None] * off[:, None]
        seen += frames.shape[1]
        yield frames
