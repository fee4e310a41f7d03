"""Resampling of numbers that are no means."""

import numpy as np
import pytest
import torch

from hallo3_lightning.evaluation.distances import ClipRows, frechet
from hallo3_lightning.evaluation.resampling import bootstrapped, over_halves, swapped_p


def clip_rows(seed: int, clips: int, move: float = 0.0) -> ClipRows:
    made = torch.Generator().manual_seed(seed)
    return ClipRows({f"c{i:03d}": torch.randn(3, 4, generator=made) + move for i in range(clips)})


def test_halves_of_a_mean_scatter_as_its_standard_error():
    values = {f"c{i:02d}": float(v) for i, v in enumerate(np.random.default_rng(0).normal(size=41))}
    found = over_halves(lambda clips: float(np.mean([values[c] for c in clips])), [*values], draws=2000)
    error = np.std([*values.values()], ddof=1) / 41**0.5
    assert found.value == pytest.approx(np.mean([*values.values()]))
    assert (found.high - found.low) / 2 == pytest.approx(1.96 * error, rel=0.06)


def test_a_frechet_distance_lies_within_its_own_interval():
    real, fake = clip_rows(0, 40), clip_rows(1, 40, move=1.0)
    found = over_halves(lambda clips: frechet(real.of(clips), fake.of(clips)), real.clips, draws=60)
    assert found.low < found.value < found.high
    assert found == over_halves(lambda clips: frechet(real.of(clips), fake.of(clips)), real.clips[::-1], draws=60)
    with pytest.raises(ValueError, match="at least 4"):
        over_halves(len, ["a", "b", "c"])


def test_exchanged_clips_tell_equal_methods_from_others():
    real, a, b, far = clip_rows(0, 24), clip_rows(1, 24), clip_rows(2, 24), clip_rows(3, 24, move=0.8)

    def gap(one: ClipRows, other: ClipRows):
        def difference(exchanged: frozenset[str]) -> float:
            first = ClipRows({c: (other if c in exchanged else one).rows[c] for c in real.clips})
            second = ClipRows({c: (one if c in exchanged else other).rows[c] for c in real.clips})
            return frechet(real.of(), first.of()) - frechet(real.of(), second.of())

        return difference

    assert swapped_p(gap(a, b), real.clips, draws=99) > 0.05
    assert swapped_p(gap(a, far), real.clips, draws=99) == 0.01


def test_a_bootstrapped_median():
    rng = np.random.default_rng(0)
    runs = [{f"c{i:02d}": float(v) for i, v in enumerate(row)} for row in rng.normal(5, 1, size=(3, 40))]
    found = bootstrapped(lambda v: float(np.median(v)), runs, draws=300)
    assert found.low < found.value < found.high
    assert found.low < 5 < found.high
    assert found == bootstrapped(lambda v: float(np.median(v)), runs, draws=300)
