"""The strip picture of a grid: truth above, each arm below, mouth curves under them."""

import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from einops import rearrange
from safetensors import SafetensorError, safe_open
from torch import Tensor

from hallo3_lightning.ablation.grid import Grid
from hallo3_lightning.ablation.runs import write_atomically
from hallo3_lightning.evaluation.mouth import opening

if TYPE_CHECKING:
    from hallo3_lightning.ablation.results import Result

CLIPS = 3
"""Clips side by side, at most."""
FRAMES = 8
"""Frames of each clip that are shown, evenly spaced."""
FRAME_INCHES = 0.62

Strips = Mapping[str, Mapping[str, Tensor]]
"""Arm -> tensors of its first run's samples/clips.safetensors."""


def draw(grid: Grid, results: "Sequence[Result]", path: Path) -> list[Path]:
    """Write the picture as PNG, unless no run has kept its clips; the files of clips that could not be read."""
    strips, unreadable = _strips(results)
    if strips:
        stamps = dict.fromkeys(result.stamp for result in results if result.stamp)
        picture = io.BytesIO()
        _figure(" ".join([*stamps, grid.question or grid.name]), strips).savefig(picture, dpi=120, format="png")
        write_atomically(path, picture.getvalue())
    return unreadable


def _strips(results: "Sequence[Result]") -> tuple[Strips, list[Path]]:
    strips: dict[str, Mapping[str, Tensor]] = {}
    unreadable = []
    for result in results:
        file = result.folder.samples / "clips.safetensors"
        if result.arm not in strips and file.is_file():
            try:
                strips[result.arm] = _first_clips(file)
            except SafetensorError:
                unreadable.append(file)
    return strips, unreadable


def _first_clips(file: Path) -> Mapping[str, Tensor]:
    """No more than is shown: at full size a clip is 150 MB, and there are many arms."""
    with safe_open(file, framework="pt") as clips:
        return {name: clips.get_slice(name)[:CLIPS] for name in clips.keys()}  # noqa: SIM118  it is no mapping


def _figure(title: str, strips: Strips) -> Any:
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    first = next(iter(strips.values()))
    clips = min(len(tensors["generated"]) for tensors in strips.values())
    shown = torch.linspace(0, first["truth"].shape[1] - 1, min(FRAMES, first["truth"].shape[1])).round().long()
    rows = {"truth": first["truth"], **({"autoencoder": first["reconstruction"]} if "reconstruction" in first else {})}
    rows |= {arm: tensors["generated"] for arm, tensors in strips.items()}
    height, width = (len(rows) + 2.2) * FRAME_INCHES + 0.9, clips * len(shown) * FRAME_INCHES + 1.6
    figure = Figure(figsize=(width, height), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots(
        len(rows) + 1, clips, squeeze=False, gridspec_kw={"height_ratios": [*[1.0] * len(rows), 2.2]}
    )
    for column in range(clips):
        for axis, (name, video) in zip(axes[:, column], rows.items(), strict=False):
            _strip(axis, video[column, shown], name if column == 0 else "")
        _curves(axes[-1, column], first["truth"][column], {arm: t["generated"][column] for arm, t in strips.items()})
    axes[-1, 0].set_ylabel("mouth opening\n% of the frame", fontsize=7)
    axes[-1, -1].legend(fontsize=6, loc="upper right", framealpha=0.6)
    figure.suptitle(title, fontsize=10)
    return figure


def _strip(axis: Any, frames: Tensor, label: str) -> None:
    """frames uint8 [n, 3, H, W], side by side."""
    axis.imshow(rearrange(frames, "n c h w -> h (n w) c").numpy(), interpolation="nearest", aspect="equal")
    axis.set_xticks([])
    axis.set_yticks([])
    axis.set_ylabel(label, rotation=0, ha="right", va="center", fontsize=8)
    for spine in axis.spines.values():
        spine.set_visible(False)


def _curves(axis: Any, truth: Tensor, generated: Mapping[str, Tensor]) -> None:
    """Openings measured in the same way on the truth and on each arm, so that heights may be compared."""
    axis.plot(opening(truth).numpy(), color="black", linewidth=2.2, label="truth")
    for arm, video in generated.items():
        axis.plot(opening(video).numpy(), linewidth=1.2, label=arm)
    axis.set_xlim(-0.5, len(truth) - 0.5)
    axis.set_ylim(bottom=0)
    axis.tick_params(labelsize=6)
    axis.set_xlabel("frame", fontsize=7)
