"""Every draw is a pure function of (seed, purpose, step, sample): there is no random state to save."""

import hashlib
from collections.abc import Sequence

import torch
from torch import Tensor


def generator(seed: int, purpose: str, *where: int) -> torch.Generator:
    """A CPU generator for one draw; `where` is a step, a sample's position, or both.

    The same arguments give the same numbers on every machine, rank and resume.
    """
    return torch.Generator().manual_seed(_hashed(seed, purpose, where))


def drawn(high: int, seed: int, purpose: str, *where: int) -> int:
    """One whole number in [0, high), without a generator: a loader draws several for every clip."""
    return _hashed(seed, purpose, where) % high


def normal(shape: Sequence[int], seed: int, purpose: str, positions: Tensor, step: int = 0) -> Tensor:
    """Standard normal [B, *shape], row b drawn from (seed, purpose, step, positions[b]); on the device of positions."""
    rows = [torch.randn(tuple(shape), generator=generator(seed, purpose, step, p)) for p in positions.tolist()]
    return torch.stack(rows).to(positions.device)


def uniform(shape: Sequence[int], seed: int, purpose: str, positions: Tensor, step: int = 0) -> Tensor:
    """Uniform in [0, 1) [B, *shape], row b drawn from (seed, purpose, step, positions[b]); on the device of positions."""
    rows = [torch.rand(tuple(shape), generator=generator(seed, purpose, step, p)) for p in positions.tolist()]
    return torch.stack(rows).to(positions.device)


def whole(high: int, seed: int, purpose: str, positions: Tensor, step: int = 0) -> Tensor:
    """Whole numbers in [0, high) [B], row b drawn from (seed, purpose, step, positions[b])."""
    rows = [torch.randint(high, (), generator=generator(seed, purpose, step, p)) for p in positions.tolist()]
    return torch.stack(rows).to(positions.device)


def _hashed(seed: int, purpose: str, where: Sequence[int]) -> int:
    """63 bits by (seed, purpose, where)."""
    name = "/".join(["hallo3", str(seed), purpose, *map(str, where)])
    return int.from_bytes(hashlib.blake2b(name.encode(), digest_size=8).digest(), "little") >> 1
