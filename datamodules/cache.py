"""cache: the frozen encoders run once over every sample, and what they give is written beside the shards."""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from functools import cache as kept
from pathlib import Path

import numpy as np
import safetensors.torch
import torch
from einops import rearrange
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from torch import Tensor

from datamodules.bad_sample import BadSample
from datamodules.cached import SIGNALS, Recipe, manifest, raw_key, save_manifest
from datamodules.claim import as_json, is_new, make_folder
from datamodules.index import Index, open_index
from datamodules.processes import alone, cores, spread
from datamodules.shards import Sample, write_members
from datamodules.stores import is_url
from hallo3_lightning.errors import UsageError, unknown
from hallo3_lightning.model.frozen import Encoders, FrozenEncoders, signed

SPLITS = ("train", "held_out")
CLIPS = 8
DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}


@dataclass(frozen=True)
class Wanted:
    """What is computed, by what.

    encoders, text_tokens, text_width: as the phase builds them; clip_frames: of the clips that latents are of;
    clips: most of them a sample; signals: names of SIGNALS; dtype: a name of DTYPES; device: where encoders run.
    """

    encoders: Encoders
    text_tokens: int
    text_width: int
    clip_frames: int
    clips: int = CLIPS
    signals: tuple[str, ...] = tuple(SIGNALS)
    dtype: str = "float32"
    device: str = "cpu"

    def check(self) -> None:
        """Raise UsageError for what cannot be computed."""
        for signal in self.signals:
            if signal not in SIGNALS:
                raise unknown("signal", signal, SIGNALS, "--signals")
        if self.clips < 1:
            raise UsageError(f"--clips is {self.clips}; a sample with latents has at least 1")
        if self.dtype not in DTYPES:
            raise unknown("dtype", self.dtype, DTYPES, "--dtype")


@dataclass(frozen=True)
class Report:
    """samples: in the source; computed: of them, that have signals; left_out: reason -> how many, of this run."""

    samples: int
    computed: int
    left_out: Mapping[str, int]


@dataclass(frozen=True)
class _Job:
    """One shard: samples [first, stop) of an index."""

    index: Index
    first: int
    stop: int
    path: Path
    signals: tuple[str, ...]
    wanted: Wanted


def compute(shards: str, out: Path, wanted: Wanted, workers: int | None = None) -> Report:
    """Write out/<split>/*.tar with the shards' names and keys and what `wanted` says, their indexes, and out/cache.json.

    shards: folder or URL of train/ and held_out/, either of which may be missing in a folder; workers: processes, by
    default one on an accelerator and else one a core. Held-out samples get no latents: they are evaluated on whole
    pixels. What is there is not computed again, whatever stopped it; the bytes do not depend on the workers.
    """
    wanted.check()
    if workers is not None and workers < 1:
        raise UsageError(f"--workers is {workers}; expected 1 or more")
    indexes = {split: open_index(place) for split, place in _places(shards).items()}
    make_folder(out)
    with alone(out, "computing signals in"), _one_thread():
        recipe = _recipe(indexes, wanted)
        _claim(out, recipe)
        jobs = [job for split, index in indexes.items() for job in _jobs(split, index, out, wanted)]
        default = 1 if wanted.device != "cpu" else cores()
        left_out = _write_all([job for job in jobs if not job.path.exists()], workers or default)
        written = [len(open_index(out / split)) for split in indexes if any((out / split).glob("*.tar"))]
        save_manifest(out, recipe, is_finished=True)
    return Report(sum(len(index) for index in indexes.values()), sum(written), left_out)


def clip_starts(frames: int, clip_frames: int, clips: int) -> list[int]:
    """First frames of at most `clips` clips of a take: evenly spread, the first and the last possible one included."""
    latest = frames - clip_frames
    if latest < 0:
        return []
    return np.unique(np.rint(np.linspace(0, latest, min(clips, latest + 1))).astype(int)).tolist()


@torch.no_grad()
def signals_of(sample: Sample, encoders: FrozenEncoders, wanted: Wanted, signals: Sequence[str]) -> dict[str, bytes]:
    """The members of a sample's signals, computed as `FrozenEncoders.fill` does; those without a source are left out."""
    made: dict[str, dict[str, Tensor]] = {}
    starts = clip_starts(sample.facts["frames"], wanted.clip_frames, wanted.clips) if "latents" in signals else []
    if starts:
        latents = [_latents(sample, start, encoders, wanted) for start in starts]
        made["latents"] = {"starts": torch.tensor(starts), "latents": torch.cat(latents)}
    if "text" in signals:
        made["text_embeddings"] = {"text_embeddings": encoders.text.encode((sample.caption,))[0]}
    if "audio" in signals and sample.waveform is not None:
        waveform = torch.from_numpy(sample.waveform / np.float32(32768)).to(wanted.device)
        features = encoders.whole_take(rearrange(waveform, "samples -> 1 samples"))[0]
        made["audio_features"] = {"audio_features": features}
    return {f"{name}.safetensors": _bytes(tensors, DTYPES[wanted.dtype]) for name, tensors in made.items()}


def _latents(sample: Sample, start: int, encoders: FrozenEncoders, wanted: Wanted) -> Tensor:
    """[1, T, C, h, w]; one clip at a time, so that a sample's clips need not fit on the device together."""
    clip = torch.from_numpy(np.array(sample.video[start : start + wanted.clip_frames])).to(wanted.device)
    return encoders.video.encode(signed(rearrange(clip, "f h w c -> 1 f c h w")))


def _bytes(tensors: Mapping[str, Tensor], dtype: torch.dtype) -> bytes:
    narrowed = {name: tensor.to(dtype) if tensor.is_floating_point() else tensor for name, tensor in tensors.items()}
    return safetensors.torch.save({name: tensor.cpu().contiguous() for name, tensor in narrowed.items()})


@kept
def _encoders(encoders: Encoders, text_tokens: int, text_width: int, device: str) -> FrozenEncoders:
    """Once a process."""
    return FrozenEncoders(encoders, text_tokens, text_width).to(device)


def _loaded(wanted: Wanted) -> FrozenEncoders:
    return _encoders(wanted.encoders, wanted.text_tokens, wanted.text_width, wanted.device)


def _places(shards: str) -> dict[str, str]:
    if is_url(shards):
        return {split: f"{shards.rstrip('/')}/{split}" for split in SPLITS}
    there = [split for split in SPLITS if any((Path(shards) / split).glob("*.tar"))]
    if not there:
        raise UsageError(f"{shards} has neither train/*.tar nor held_out/*.tar; name the folder that TalkingHead reads")
    return {split: str(Path(shards) / split) for split in there}


def _recipe(indexes: Mapping[str, Index], wanted: Wanted) -> Recipe:
    kinds = sorted({SIGNALS[signal] for signal in wanted.signals})
    of_clips = "latents" in wanted.signals
    return Recipe(
        signals=tuple(sorted(wanted.signals)),
        encoders=_loaded(wanted).fingerprints(kinds),
        sources={split: index.digest for split, index in indexes.items()},
        dtype=wanted.dtype,
        clip_frames=wanted.clip_frames if of_clips else None,
        clips=wanted.clips if of_clips else None,
    )


def _claim(out: Path, recipe: Recipe) -> None:
    """Write down what the folder is made by, or check it against what it was made by."""
    made = manifest(out)
    if is_new(out, made and as_json(asdict(made[0])), as_json(asdict(recipe)), strangers=out.glob("*/*.tar")):
        save_manifest(out, recipe, is_finished=False)


def _jobs(split: str, index: Index, out: Path, wanted: Wanted) -> Iterator[_Job]:
    signals = tuple(signal for signal in wanted.signals if split == "train" or signal != "latents")
    if not signals:
        return
    make_folder(out / split)
    stops = np.cumsum(index.samples_per_shard).tolist()
    for shard, first, stop in zip(index.shards, [0, *stops], stops, strict=False):
        if stop > first:
            yield _Job(index, first, stop, out / split / shard, signals, wanted)


def _write_all(jobs: Sequence[_Job], workers: int) -> Mapping[str, int]:
    left_out: Counter[str] = Counter()
    columns = TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn()
    with Progress(*columns) as progress:
        task = progress.add_task("computing signals", total=sum(job.stop - job.first for job in jobs))
        for samples, faults in spread(_write, jobs, max(min(workers, len(jobs)), 1)):
            progress.advance(task, samples)
            for fault in faults:
                left_out[fault.reason] += 1
                progress.console.print(f"left out: {fault}", markup=False, highlight=False)
    return left_out


def _write(job: _Job) -> tuple[int, list[BadSample]]:
    """Compute one shard: how many samples it has, and which of them are bad."""
    faults: list[BadSample] = []

    def members() -> Iterator[tuple[str, Mapping[str, bytes]]]:
        encoders = _loaded(job.wanted)
        for number in range(job.first, job.stop):
            try:
                made = signals_of(job.index.read(number), encoders, job.wanted, job.signals)
            except BadSample as error:
                faults.append(error)
                continue
            if made:
                yield raw_key(job.index, number), made

    with _one_thread():
        write_members(job.path, members())
    return job.stop - job.first, faults


@contextmanager
def _one_thread() -> Iterator[None]:
    """The order of additions, and so the last bits, may depend on the number of threads."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)
