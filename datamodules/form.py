"""What the clips of a data set have in common, so that they make batches: sizes, fields, and shapes of fields."""

from collections.abc import Collection
from dataclasses import dataclass, fields, replace
from typing import Any, Self

from datamodules.sample import Sample
from datamodules.shards import DECODERS

Shape = tuple[int, ...]

_FIELDS = tuple(field.name for field in fields(Sample) if field.name != "key")


@dataclass(frozen=True)
class Form:
    """Size in pixels, the fields of the samples, and what one clip's part of each field is shaped like.

    fields: those that are there, and "face_box" where the face is known; shapes: name of a field, or "truth.<track>", and
    its shape without what differs from take to take: frames, and how many clips there are latents of.
    """

    height: int
    width: int
    fields: frozenset[str]
    shapes: frozenset[tuple[str, Shape]] = frozenset()

    @classmethod
    def of(cls, sample: Sample) -> Self:
        """That of one sample, which keeps the contract of `datamodules.shards`."""
        return cls(
            sample.facts["height"], sample.facts["width"], fields_of(sample), frozenset(_shapes_of(sample).items())
        )

    @property
    def members(self) -> tuple[str, ...]:
        """Members that hold the fields; no other is ever read."""
        return tuple(name for name, (field, _) in DECODERS.items() if field in self.fields)

    def only(self, wanted: Collection[str]) -> Self:
        """Without what is not among the wanted fields."""
        kept = self.fields & frozenset(wanted)
        return replace(self, fields=kept, shapes=frozenset(one for one in self.shapes if _field(one[0]) in kept))

    def misfit(self, other: Self) -> tuple[str, str] | None:
        """Why clips of a sample of the other form cannot stand beside these: reason and what it has; None if they can.

        It may have more fields: they are left out.
        """
        if other == self:  # nearly always, and quick
            return None
        if (other.height, other.width) != (self.height, self.width):
            have = f"is of {other.height} x {other.width} pixels, others are of {self.height} x {self.width}"
            return "other size", f"{have}; give each size a source of its own (data.mixture)"
        absent = sorted(self.fields - other.fields)
        if absent:
            have = f"lacks {', '.join(absent)}, which others of its data set have"
            return "missing field", f"{have}; write it into the shards, or leave the sample out"
        theirs, ours = dict(other.only(self.fields).shapes), dict(self.shapes)
        for name in sorted(ours.keys() | theirs.keys()):
            if ours.get(name) != theirs.get(name):
                have = f"has {name} {_said(theirs.get(name))}, others of its data set {_said(ours.get(name))}"
                return "other size", f"{have}; write it alike into all shards, or leave the sample out"
        return None


def fields_of(sample: Sample) -> frozenset[str]:
    """The fields of a sample that are there, and "face_box" where its face is known."""
    there = {name for name in _FIELDS if getattr(sample, name) is not None}
    return frozenset(there | ({"face_box"} if sample.facts["face_box"] is not None else set()))


def only(sample: Sample, wanted: frozenset[str]) -> Sample:
    """The sample without what others of its data set lack: clips of a batch have the same fields."""
    more = fields_of(sample) - wanted
    absent: dict[str, Any] = dict.fromkeys(more - {"face_box"})
    facts = {**sample.facts, "face_box": None} if "face_box" in more else sample.facts
    return replace(sample, facts=facts, **absent) if more else sample


def _shapes_of(sample: Sample) -> dict[str, Shape]:
    shapes = {f"truth.{name}": track.shape[1:] for name, track in (sample.truth or {}).items()}
    if sample.face_embedding is not None:
        shapes["face_embedding"] = sample.face_embedding.shape
    if sample.text_embeddings is not None:
        shapes["text_embeddings"] = sample.text_embeddings.shape
    if sample.audio_features is not None:
        shapes["audio_features"] = sample.audio_features.shape[1:]
    if sample.latents is not None:
        shapes["latents"] = sample.latents["latents"].shape[2:]
    return shapes


def _field(name: str) -> str:
    return name.partition(".")[0]


def _said(shape: Shape | None) -> str:
    return "none" if shape is None else str(list(shape))
