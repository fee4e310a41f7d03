"""Twenty seconds of new speech from one portrait: does the mouth follow to the end, are windows seen to meet, is it still the
same person?

Each run animates the first frames of people whose faces, voices and speech are in no data set, window by window as `hallo3
animate --device cpu` does from a file: in the run's precision, hearing as far around a window as it did in training. Mouth correlation is over all frames but the portrait's own, beside that of the first and last five seconds; the
control compares each film with the other people's speech. Seam ratio: 1 where no border can be seen; by joints: the same
against the steps from latent to latent within windows alone, of which every fourth frame is one; with its blend: also of the
frames in which what is blended (--blend-frames) comes to its end, as seam ratio does not. The truth, and the truth
through the autoencoder in the same windows, are scored as if they were films.
"""

import argparse
import json
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import mean, stdev

import torch
from einops import rearrange
from matplotlib.figure import Figure
from rich.console import Console
from rich.table import Column, Table
from streaming import Performer, from_run, streamed, untrained
from torch import Tensor

from datamodules.clip import cut
from datamodules.synthetic.take import make_take
from hallo3_lightning.animation.animator import Animator
from hallo3_lightning.animation.windows import Window, windows
from hallo3_lightning.batch import Batch
from hallo3_lightning.evaluation.metrics.identity_distance import IdentityDistance
from hallo3_lightning.evaluation.metrics.identity_drift import IdentityDrift
from hallo3_lightning.evaluation.metrics.seam_ratio import SeamRatio
from hallo3_lightning.evaluation.motion import jumps
from hallo3_lightning.evaluation.mouth import correlation, opening
from hallo3_lightning.geometry import FPS, FRAMES_PER_LATENT
from hallo3_lightning.model.frozen import pixels, signed

NOBODY = 246_810
"""Seed of people, scenes and speech that are in no data set."""

ENDS_S = 5
"""Seconds at either end that are scored by themselves."""

SHOWN = 20
"""Frames of the picture, evenly spaced."""


Scores = Mapping[str, tuple[float, float]]
"""Name -> mean and deviation over people."""


@dataclass(frozen=True)
class Film:
    """frames: [F, 3, H, W] uint8; borders: first frame of each window after the first; joints: of each latent within a window;
    blended: new frames of each window that are drawn towards the one before it."""

    frames: Tensor
    borders: tuple[int, ...]
    joints: tuple[int, ...]
    blended: int = 0


def people(count: int, frames: int) -> list[Batch]:
    """Portraits with the truth of what they say."""
    return [
        cut(make_take(NOBODY, number, frames=frames), position=number, start=0, frames=frames, reference=0)
        for number in range(count)
    ]


def truth(person: Batch) -> Tensor:
    """[F, 3, H, W]."""
    assert person.video is not None
    return person.video[0]


def aperture(person: Batch) -> Tensor:
    """[F]."""
    assert person.truth is not None
    return person.truth["aperture"][0]


def films(performer: Performer, persons: Sequence[Batch]) -> dict[str, list[Film]]:
    """What the network makes, what its autoencoder makes of the truth, and the truth."""
    found: dict[str, list[Film]] = {"generated": [], "autoencoder": [], "truth": []}
    animator = performer.animator
    for person in persons:
        video, _ = streamed(performer, person, is_live=False)
        true, passes = truth(person), windows(video.shape[1], animator.clip_frames, animator.motion_frames)
        borders = tuple(window.start + window.kept_from for window in passes[1:])
        joints = tuple(frame for window in passes for frame in joints_of(window))
        with performer.placement.cast():
            again = torch.cat([through(animator, true, window) for window in passes])
        found["generated"].append(Film(video[0], borders, joints, animator.sampling.blend_frames))
        found["autoencoder"].append(Film(again, borders, joints))
        found["truth"].append(Film(true, borders, joints))
    return found


def joints_of(window: Window) -> range:
    """First frames of the latents of a window that begin and end among its new frames."""
    first = window.start + 1
    while first <= max(window.start + window.kept_from, 1):
        first += FRAMES_PER_LATENT
    return range(first, window.stop, FRAMES_PER_LATENT)


def through(animator: Animator, true: Tensor, window: Window) -> Tensor:
    """What the autoencoder makes of the true frames of a window, without those that the window does not bring."""
    place = torch.arange(window.start, window.start + animator.clip_frames).clamp(max=len(true) - 1)
    latents = animator.encoders.video.encode(signed(true[place][None]))
    decoded = torch.cat([*animator.encoders.video.decode_chunks(latents)], dim=1)[0]
    return pixels(decoded)[window.kept_from : window.stop - window.start]


def bent(film: Film, frames: Iterable[int]) -> Tensor:
    """Changes of velocity at the steps into these frames, in grey levels."""
    sizes = jumps(film.frames[None])[0]  # entry i is frame i + 1's
    return torch.cat([sizes[frame - 2 : frame] for frame in frames])


def with_blend(film: Film) -> float:
    """Changes of velocity from the last frame of a window to the last that is blended in the next, over all others."""
    sizes = jumps(film.frames[None])[0]
    there = torch.zeros(len(sizes), dtype=torch.bool)
    for border in film.borders:
        there[border - 2 : border + film.blended] = True
    return float(sizes[there].square().mean() / sizes[~there].square().mean()) ** 0.5


def scores(film: Film, person: Batch, others: Sequence[Batch]) -> dict[str, float]:
    """Of one film, by name."""
    measured, true, end = opening(film.frames)[1:], aperture(person)[1:], ENDS_S * FPS
    clip = (film.frames[None], person, 1, film.borders)
    by_chance = [float(correlation(measured, aperture(other)[1:])) for other in others]
    return {
        "mouth": float(correlation(measured, true)),
        "mouth, first": float(correlation(measured[:end], true[:end])),
        "mouth, last": float(correlation(measured[-end:], true[-end:])),
        "control": mean(by_chance),
        "seam ratio": float(SeamRatio().measure(*clip)),
        "by joints": float(bent(film, film.borders).square().mean() / bent(film, film.joints).square().mean()) ** 0.5,
        "with its blend": with_blend(film),
        "identity": float(IdentityDistance().measure(*clip)),
        "drift a s": float(IdentityDrift().measure(*clip)),
    }


def summary(made: Sequence[Film], persons: Sequence[Batch]) -> dict[str, tuple[float, float]]:
    """Score -> mean and deviation over people."""
    rows = [
        scores(film, person, [other for other in persons if other is not person])
        for film, person in zip(made, persons, strict=True)
    ]
    spread = {name: [row[name] for row in rows] for name in rows[0]}
    return {name: (mean(values), stdev(values)) for name, values in spread.items()}


def draw(path: Path, made: Mapping[str, Sequence[Film]], person: Batch, title: str) -> None:
    """The first film of each kind above, mouths below, dotted lines where windows meet."""
    film = made["generated"][0]
    count = len(film.frames)
    shown = ((torch.arange(SHOWN) + 0.5) * count / SHOWN).long()
    figure = Figure(figsize=(11, 3.7), layout="constrained")
    *strips, bottom = figure.subplots(4, 1, height_ratios=(1, 1, 1, 2.4))
    for axis, name in zip(strips, ("truth", "autoencoder", "generated"), strict=True):
        frames = made[name][0].frames
        axis.imshow(rearrange(frames[shown], "f c h w -> h (f w) c").numpy(), interpolation="nearest", aspect="equal")
        axis.set(xticks=[], yticks=[])
        axis.set_ylabel(name, fontsize=7, rotation=0, ha="right", va="center")
    times = torch.arange(count) / FPS
    for values, colour, name in (
        (aperture(person), "#888888", "true aperture"),
        (opening(film.frames), "#1f5fa8", "mouth"),
    ):
        bottom.plot(times, (values - values.min()) / (values.max() - values.min() + 1e-9), colour, lw=0.9, label=name)
    for border in film.borders:
        bottom.axvline(border / FPS, color="black", linewidth=0.5, linestyle=":")
    bottom.set(xlim=(0, count / FPS), yticks=[])
    bottom.set_xlabel("seconds (dotted: windows meet)", fontsize=7)
    bottom.tick_params(labelsize=7)
    bottom.legend(fontsize=6, loc="upper right", ncols=2)
    figure.suptitle(title, fontsize=8)
    figure.savefig(path, dpi=110)


def report(found: Mapping[str, Mapping[str, tuple[float, float]]]) -> None:
    names = list(next(iter(found.values())))
    table = Table(Column("", no_wrap=True), *names, title="A long talk: mean ± deviation over people")
    for arm, row in found.items():
        table.add_row(arm, *(f"{row[name][0]:.2f} ± {row[name][1]:.2f}" for name in names))
    Console(width=180).print(table)


def figures(found: Mapping[str, Scores], references: Mapping[str, Scores]) -> dict[str, object]:
    """How much windows are seen to meet, of the first arm and of each; and everything else."""
    ratios = {name: row["seam ratio"][0] for name, row in found.items()}
    return {"ratio": next(iter(ratios.values())), "ratios": ratios, "arms": {**found, **references}}


def performers(places: Sequence[Path | None], blends: Sequence[int | None]) -> dict[str, Performer]:
    """Of each run, or of random weights, blending over each number of frames, by name."""
    found: dict[str, Performer] = {}
    for place in places:
        name, performer = (place.resolve().name, from_run(place)) if place else ("untrained", untrained())
        for blend in blends:
            if blend is None:
                found[name] = performer
            else:
                sampling = replace(performer.animator.sampling, blend_frames=blend)
                found[f"{name}, blend {blend}"] = performer.with_(sampling=sampling)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", type=Path, help="write the figures there")
    parser.add_argument(
        "--run", type=Path, nargs="+", help="finished audio runs on procedural heads; without, random weights"
    )
    parser.add_argument("--seconds", type=float, default=20, help="of speech (%(default)s)")
    parser.add_argument("--people", type=int, default=4, help="(%(default)s)")
    parser.add_argument("--blend-frames", type=int, nargs="+", help="each run with each of these (as it was trained)")
    parser.add_argument("--picture", type=Path, help="draw the first run's film of the first person there")
    arguments = parser.parse_args()
    if arguments.people < 2:
        parser.error(f"--people is {arguments.people}; give 2 or more: the control is other people's speech")
    torch.set_num_threads(1)
    persons = people(arguments.people, round(arguments.seconds * FPS))
    found: dict[str, dict[str, tuple[float, float]]] = {}
    references: dict[str, dict[str, tuple[float, float]]] = {}
    for name, performer in performers(arguments.run or [None], arguments.blend_frames or [None]).items():
        made = films(performer, persons)
        if arguments.picture and not found:
            title = f"{arguments.seconds:g} s of new speech from one portrait, {name}"
            draw(arguments.picture, made, persons[0], title)
        references = {kind: summary(made[kind], persons) for kind in ("autoencoder", "truth")}
        found[name] = summary(made["generated"], persons)
    report(found | references)
    Console().print(f"load {os.getloadavg()[0]:.1f}")
    if arguments.json:
        arguments.json.write_text(json.dumps(figures(found, references), indent=2))


if __name__ == "__main__":
    main()
