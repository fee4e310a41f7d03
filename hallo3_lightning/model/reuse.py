"""Skipping blocks in steps in which little changes: an approximation."""

from collections.abc import Sequence

from torch import Tensor, nn

from hallo3_lightning.model.positions import Rotary
from hallo3_lightning.model.sites import Conditions


class Reuse:
    """A way through the blocks of one network in the steps of one window; it remembers, so each window takes its own.

    The first block always runs. While what it adds to the video has changed little since the step before, summed over
    the steps since the others ran, these add again what they added then.
    Source of the sum of measured changes: TeaCache, arXiv 2411.19108 (there, of the modulated input).

    Args:
        threshold: of the sum of relative changes (mean absolute difference by mean absolute value).
    """

    def __init__(self, threshold: float) -> None:
        self.threshold = threshold
        self.computed, self.reused = 0, 0
        self._changed = 0.0
        self._added: Tensor | None = None
        self._rest: Tensor | None = None

    def __call__(
        self,
        blocks: Sequence[nn.Module],
        video: Tensor,
        text: Tensor,
        time: Tensor,
        rotary: Rotary | None,
        conditions: Sequence[Conditions],
    ) -> Tensor:
        """The video behind the last block."""
        first, text = blocks[0](video, text, time, rotary, conditions[0])
        self._note(first - video)
        if self._rest is not None and self._changed < self.threshold:
            self.reused += 1
            return first + self._rest
        behind = first
        for block, given in zip(blocks[1:], conditions[1:], strict=True):
            behind, text = block(behind, text, time, rotary, given)
        self.computed, self._changed, self._rest = self.computed + 1, 0.0, behind - first
        return behind

    def _note(self, added: Tensor) -> None:
        if self._added is not None:
            self._changed += float((added - self._added).abs().mean() / self._added.abs().mean().clamp(min=1e-12))
        self._added = added
