"""Batch: rows and joins are each other's inverse, and what is missing is said by name."""

from dataclasses import fields

import pytest
import torch

from hallo3_lightning.batch import NAMES, Batch, joined
from hallo3_lightning.errors import UsageError
from tests import tiny


def whole(clips: int = 3) -> Batch:
    """Every kind of field: names, tensors, captions, ground truth."""
    truth = {"aperture": tiny.draw(clips, 9), "mask": tiny.draw(clips, 9, 4, 5) > 0}
    captions = tuple(f"caption {i}" for i in range(clips))
    return tiny.batch(clips=clips).with_(starts=torch.arange(clips) * 2, captions=captions, truth=truth)


def same(one: Batch, other: Batch) -> bool:
    def equal(a, b) -> bool:
        if isinstance(a, torch.Tensor):
            return torch.equal(a, b)
        if isinstance(a, dict):
            return a.keys() == b.keys() and all(equal(a[key], b[key]) for key in a)
        return a == b

    return all(equal(getattr(one, field.name), getattr(other, field.name)) for field in fields(Batch))


def test_the_rows_of_a_batch_joined_are_the_batch():
    batch = whole()
    assert same(joined(batch.rows(slice(i, i + 1)) for i in range(3)), batch)
    assert same(joined([batch.rows(slice(0, 2)), batch.rows(torch.tensor([2]))]), batch)


def test_rows_may_be_picked_in_any_order():
    picked = whole().rows(torch.tensor([2, 0]))
    assert picked.keys == ("clip2", "clip0")
    assert picked.captions == ("caption 2", "caption 0")
    assert picked.positions.tolist() == [2, 0]
    assert torch.equal(picked.truth["aperture"], whole().truth["aperture"][[2, 0]])


def test_a_change_makes_a_copy():
    batch = whole()
    other = batch.with_(latents=None)
    assert batch.latents is not None
    assert other.latents is None
    assert other.motion_latents is batch.motion_latents


def test_moving_reaches_every_tensor():
    moved = whole().map(lambda tensor: tensor.to("meta"))
    tensors = [getattr(moved, field.name) for field in fields(Batch)]
    tensors = [t for t in [*tensors, *moved.truth.values()] if isinstance(t, torch.Tensor)]
    assert len(tensors) == 10
    assert {tensor.device.type for tensor in tensors} == {"meta"}
    assert whole().to(torch.float64).latents.dtype == torch.float64


def test_present_lists_what_is_there_and_not_what_names_it():
    present = whole().present()
    assert "latents" in present
    assert "video" not in present
    assert set(NAMES) & set(present) == set()


def test_a_missing_field_is_named_with_the_sample_and_what_is_there():
    with pytest.raises(UsageError) as caught:
        whole().with_(face_embedding=None).require(("latents", "face_embedding", "video"), "face_attention")
    said = str(caught.value)
    assert said.startswith("face_attention needs face_embedding, video, ")
    assert "'clip0'" in said
    assert "motion_latents" in said.split("it has")[1]
    whole().require(("latents", "captions"), "nobody")
