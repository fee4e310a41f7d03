"""Does the mouth open when the driving track says so?"""

from collections.abc import Mapping
from typing import ClassVar

from torch import Tensor

from hallo3_lightning.evaluation.mouth import MouthCurves, correlation


class MouthCorrelation(MouthCurves):
    """Correlation over frames of the measured mouth opening with the true aperture."""

    unit: ClassVar[str] = "correlation"
    higher_is_better = True
    controls: ClassVar[Mapping[str, str]] = {"shuffled_audio": "mouth_correlation_shuffled"}

    def compare(self, measured: Tensor, true: Tensor) -> Tensor:
        return correlation(measured, true)
