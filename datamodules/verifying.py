"""Decoding every sample of a shard once, by the checks that the loader makes, and naming what does not pass them."""

from collections import Counter
from collections.abc import Mapping, Sequence

from datamodules.bad_sample import BadSample
from datamodules.faults import not_finite
from datamodules.form import Form
from datamodules.scan import Extent, Problem, Scanned
from datamodules.shards import DECODERS, SIGNALS, Sample, decode, decoded
from datamodules.stores import Range, Store

FRAMES_AT_ONCE = 32


def verify(store: Store, found: Scanned) -> tuple[list[Problem], list[Form | None]]:
    """Decode every sample, and take out of `found` those that cannot be: why, and the forms of those that stay.

    What was computed ahead for samples that lie elsewhere is decoded alone, and has no form.
    """
    problems: list[Problem] = []
    forms: list[Form | None] = []
    known: dict[Form | None, Form | None] = {}
    for key, extents in list(found.samples.items()):
        try:
            form = _form(store, found.shard, key, extents)
            forms.append(known.setdefault(form, form))  # one object: samples are alike
        except BadSample as error:
            del found.samples[key]
            reason = f"{error.reason}: {error.member}" if error.member else error.reason
            problems.append(Problem(found.shard, key, reason))
    return problems, forms


def misfits(forms: Sequence[Form | None]) -> dict[int, str]:
    """Number -> reason, of the samples that make no batches with the commonest ones of their data set."""
    times = Counter(form for form in forms if form is not None)
    if not times:
        return {}
    common = times.most_common(1)[0][0]
    told = {form: common.misfit(form) for form in times}
    found: dict[int, str] = {}
    for number, form in enumerate(forms):
        misfit = told[form] if form is not None else None
        if misfit is not None:
            reason, have = misfit
            found[number] = f"{reason}: {have.partition(';')[0]}"
    return found


def _form(store: Store, shard: str, key: str, extents: Mapping[str, Extent]) -> Form | None:
    names = [name for name in extents if name in DECODERS]
    payloads = store.read([Range(shard, *extents[name]) for name in names])
    members = dict(zip(names, payloads, strict=True))
    if {DECODERS[name][0] for name in names} <= SIGNALS:
        decoded(members, key, shard)
        return None
    sample = decode(members, key, shard)
    _decode_frames(sample)
    for member, reason, fault in not_finite(sample):
        raise BadSample(f"{shard}: sample '{key}': {fault}", shard=shard, key=key, member=member, reason=reason)
    return Form.of(sample)


def _decode_frames(sample: Sample) -> None:
    for first in range(0, sample.video.shape[0], FRAMES_AT_ONCE):
        sample.video[first : first + FRAMES_AT_ONCE]
