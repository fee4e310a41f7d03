"""Fréchet distances against eight implementations: their values on six pairs of sets."""

import pytest

from hallo3_lightning.evaluation.distances import frechet
from tests.golden.evaluation_set import Recorded, recorded

CLOSE, FLOAT32 = 1e-6, 1e-3
"""Relative: of implementations in float64, and in float32."""

CLAMPED = 1e-4
"""Relative: of the form with singular values of roots, which takes small ones for 0, where covariances are near singular."""

NOTHING = 1e-9
"""Of equal sets, relative to their spread."""


def tolerance(case: str, implementation: str) -> float:
    if implementation.endswith("f32"):
        return FLOAT32
    return CLAMPED if "tfgan" in implementation and case == "ill_conditioned" else CLOSE


@pytest.fixture(scope="module")
def record() -> Recorded:
    return recorded("frechet")


def test_values(record):
    for case, told in record.facts["cases"].items():
        a, b = (record.tensors[f"{case}.{side}"] for side in "ab")
        spread = float(a.double().var(dim=0).sum() + b.double().var(dim=0).sum())
        for implementation, value in told.items():
            theirs = value["value"] if isinstance(value, dict) else value
            ours = frechet(a, b, biased="biased" in implementation)
            nothing = spread * (1e-5 if implementation.endswith("f32") else NOTHING)
            assert ours == pytest.approx(theirs, rel=tolerance(case, implementation), abs=nothing), (
                case,
                implementation,
            )
