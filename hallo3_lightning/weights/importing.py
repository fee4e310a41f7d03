"""Weights of others -> a folder of weights of ours: `hallo3 import-weights SOURCE OUT`."""

from dataclasses import asdict
from functools import partial
from math import prod
from pathlib import Path

from torch import Tensor

from hallo3_lightning.errors import UsageError
from hallo3_lightning.geometry import latent_frames
from hallo3_lightning.model.transformer import Backbone
from hallo3_lightning.weights.folder import SHARD_BYTES, STEM, Part, write_record, write_shards, written_aside
from hallo3_lightning.weights.names import Cut, Mapped, mapped
from hallo3_lightning.weights.rows import cut, cut_shape
from hallo3_lightning.weights.sizes import Grid, backbone_of, check, complain, strategies_of
from hallo3_lightning.weights.source import Source, opened

PUBLISHED_EPS, PUBLISHED_OUTPUT_EPS = 1e-5, 1e-6
DIFFUSERS_EPS = 1e-5
"""Of the norms of blocks, the last norm and the norm before the output, where a config.json says nothing."""


def import_weights(source: Path, out: Path, latents: str | None = None, shard_bytes: int = SHARD_BYTES) -> int:
    """Write the weights at `source` under our names; everything is checked before anything is written.

    Args:
        source: a diffusers folder, a SAT folder, or a SAT file; see weights/source.py.
        out: folder to make.
        latents: for which the learned positions are, "13x60x90"; a diffusers folder says so itself.
        shard_bytes: the most that a shard holds.
    """
    given = opened(source)
    names = _mapped(given)
    whole = sorted(
        {where.published for where in names.cuts.values() if not given.dtypes[where.published].is_floating_point}
    )
    complain(str(source), {"unknown": names.unknown, "not of floating point": whole})
    shapes = {ours: _shape(given, where) for ours, where in names.cuts.items()}
    backbone = _backbone(given, shapes, Grid.of(latents) if latents else None)
    check(shapes, backbone, str(source))

    def read(where: Cut) -> Tensor:
        tensor = given.read(where.published)
        if not tensor.isfinite().all():
            raise UsageError(f"'{source}': {where.published} holds values that are not finite; fetch it again")
        return cut(tensor, where)

    parts = [
        Part(name, prod(shapes[name]) * given.dtypes[where.published].itemsize, partial(read, where))
        for name, where in names.cuts.items()
    ]
    dtypes = {str(given.dtypes[where.published]).removeprefix("torch.") for where in names.cuts.values()}
    with written_aside(out, sum(part.bytes for part in parts)) as aside:
        fingerprint = write_shards(aside, parts, STEM, shard_bytes)
        record = {
            "fingerprint": fingerprint,
            "source": str(source),
            "kind": given.kind,
            "dtype": "+".join(sorted(dtypes)),
            "parameters": sum(prod(shape) for shape in shapes.values()),
            "backbone": asdict(backbone),
            "strategies": strategies_of(shapes),
            "dropped": names.dropped,
        }
        write_record(aside, record)
    return 0


def _mapped(source: Source) -> Mapped:
    if source.kind == "diffusers":
        return Mapped({f"transformer.{name}": Cut(name) for name in source.shapes}, {}, [])
    return mapped(source.shapes)


def _shape(source: Source, where: Cut) -> tuple[int, ...]:
    shape = source.shapes[where.published]
    found = cut_shape(shape, where)
    if found is None:
        raise UsageError(
            f"'{source.path}': {where.published} {shape} should be {where.parts} equal parts one after the other"
        )
    return found


def _backbone(source: Source, shapes: dict[str, tuple[int, ...]], grid: Grid | None) -> Backbone:
    if source.kind != "diffusers":
        return backbone_of(shapes, grid or Grid(), PUBLISHED_EPS, PUBLISHED_OUTPUT_EPS)
    frames, height, width = (_count(source, f"sample_{axis}") for axis in ("frames", "height", "width"))
    told = Grid(latent_frames(frames), height, width)
    eps = source.config.get("norm_eps", DIFFUSERS_EPS)
    if not isinstance(eps, float):
        raise UsageError(f"'{source.path}': its config.json says norm_eps {eps!r} where we need a number such as 1e-5")
    backbone = backbone_of(shapes, grid or told, eps, eps)
    heads, head_dim = _count(source, "num_attention_heads"), _count(source, "attention_head_dim")
    if (heads, head_dim) != (backbone.heads, backbone.head_dim):
        raise UsageError(
            f"'{source.path}': its config.json says {heads} heads of {head_dim}, but its weights are {backbone.width} "
            f"wide and {backbone.heads} heads of {backbone.head_dim}; fetch the config.json that belongs to them"
        )
    return backbone


def _count(source: Source, key: str) -> int:
    number = source.config.get(key)
    if type(number) is not int or number < 1:
        says = f"says {key} {number!r} where we need" if key in source.config else f"does not say {key},"
        raise UsageError(f"'{source.path}': its config.json {says} a whole number above 0; fetch it again")
    return number
