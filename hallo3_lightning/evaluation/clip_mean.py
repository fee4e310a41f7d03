"""ClipMean: the mean of one number a clip, each clip once, over all ranks."""

from torch import Tensor
from torchmetrics import MeanMetric

from hallo3_lightning.batch import Batch


class ClipMean(MeanMetric):
    """The mean over the clips that count; NaN stays NaN.

    Lightning's own mean of what is logged divides the number of clips by the number of ranks in whole numbers: seven
    clips on two ranks would count as six.
    """

    def __init__(self) -> None:
        super().__init__(nan_strategy="disable")

    def update(self, values: Tensor, batch: Batch) -> None:  # type: ignore[override]
        """Add the values [B] of a batch."""
        super().update(values if batch.counted is None else values[batch.counted])
