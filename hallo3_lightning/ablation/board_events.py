"""What a board's event files hold: settings and results for HParams, a layout that overlays the arms, clips as GIFs."""

import io
import re
import time
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from einops import rearrange
from PIL import Image

from hallo3_lightning.ablation.grid import Arm, Grid, Run
from hallo3_lightning.geometry import FPS

if TYPE_CHECKING:
    import numpy as np
    from torch import Tensor

LEAST_SIDE = 128
"""Pixels of a clip that is shown."""

UNSET = "as the base"
"""Shown for an axis that an arm leaves alone."""

CHARTS = {
    "loss": ("train/loss", "val/loss"),
    "validation": ("val/",),
    "alarms": ("alarm/",),
    "test": ("test/",),
    "speed and memory": ("speed/", "memory/"),
    "norms": ("norm/gradient/", "norm/update/"),
}
"""Title of a group of charts -> what tags begin with that have one, each with the curves of all runs."""

Settings = Mapping[str, str | float]


def settings(grid: Grid, run: Run) -> Settings:
    """arm, seed and every axis of the grid; an arm that leaves an axis alone says so."""
    return {"arm": run.arm.name, "seed": float(run.seed), **{axis: _setting(grid, run.arm, axis) for axis in grid.axes}}


def _setting(grid: Grid, arm: Arm, axis: str) -> str | float:
    """A number where all arms have one, else text: the page knows one kind for a column."""
    values = [other.settings.get(axis, UNSET) for other in grid.arms]
    value = arm.settings.get(axis, UNSET)
    numbers = all(isinstance(v, int | float) and not isinstance(v, bool) for v in values)
    return float(value) if numbers else str(value)


def session_start(name: str, given: Settings) -> list[Any]:
    """A run's settings, known before it starts."""
    from tensorboard.plugins.hparams import metadata, plugin_data_pb2

    start = plugin_data_pb2.SessionStartInfo(group_name=name, start_time_secs=time.time())
    for key, value in given.items():
        if isinstance(value, str):
            start.hparams[key].string_value = value
        else:
            start.hparams[key].number_value = value
    page = plugin_data_pb2.HParamsPluginData(session_start_info=start)
    return [_hparams(metadata.SESSION_START_INFO_TAG, page)]


def session_end(grid: Grid, metrics: Sequence[str], stamps: Sequence[str], values: Mapping[str, float]) -> list[Any]:
    """A finished run's results, and the columns of the page, which are those of whichever run is read first."""
    from tensorboard.compat.proto.summary_pb2 import Summary
    from tensorboard.plugins.hparams import api_pb2, metadata, plugin_data_pb2

    end = plugin_data_pb2.SessionEndInfo(status=api_pb2.STATUS_SUCCESS, end_time_secs=time.time())
    return [
        _hparams(
            metadata.EXPERIMENT_TAG, plugin_data_pb2.HParamsPluginData(experiment=_columns(grid, metrics, stamps))
        ),
        _hparams(metadata.SESSION_END_INFO_TAG, plugin_data_pb2.HParamsPluginData(session_end_info=end)),
        *(Summary.Value(tag=tag(name), simple_value=value) for name, value in values.items()),
    ]


def tag(metric: str) -> str:
    """Of a metric's last value."""
    return f"final/{metric}"


def _hparams(name: str, page: Any) -> Any:
    from tensorboard.compat.proto.summary_pb2 import Summary
    from tensorboard.plugins.hparams import metadata

    return Summary.Value(tag=name, metadata=metadata.create_summary_metadata(page), tensor=metadata.NULL_TENSOR)


def _columns(grid: Grid, metrics: Sequence[str], stamps: Sequence[str]) -> Any:
    from tensorboard.plugins.hparams import api_pb2

    rows = [settings(grid, run) for run in grid.runs()]
    infos = []
    for name in rows[0]:
        values = list(dict.fromkeys(row[name] for row in rows))
        text = any(isinstance(value, str) for value in values)
        info = api_pb2.HParamInfo(name=name, type=api_pb2.DATA_TYPE_STRING if text else api_pb2.DATA_TYPE_FLOAT64)
        info.domain_discrete.extend([str(value) if text else value for value in values])
        infos.append(info)
    shown = {name: " ".join([*stamps, name]) for name in metrics}
    return api_pb2.Experiment(
        name=grid.name,
        description="\n".join([*stamps, grid.question]),
        hparam_infos=infos,
        metric_infos=[
            api_pb2.MetricInfo(name=api_pb2.MetricName(tag=tag(name)), display_name=shown[name]) for name in metrics
        ],
        time_created_secs=time.time(),
    )


def layout(tags: Iterable[str]) -> list[Any]:
    """A chart for each tag, in which all runs that are chosen lie over each other."""
    from tensorboard.compat.proto.summary_pb2 import Summary
    from tensorboard.plugins.custom_scalar import layout_pb2, metadata
    from tensorboard.util.tensor_util import make_tensor_proto

    left, categories = sorted(tags), []
    for title, beginnings in CHARTS.items():
        chosen = [name for name in left if name.startswith(beginnings)]
        left = [name for name in left if name not in chosen]
        charts = [
            layout_pb2.Chart(title=name, multiline=layout_pb2.MultilineChartContent(tag=[f"^{re.escape(name)}$"]))
            for name in chosen
        ]
        if charts:
            categories.append(
                layout_pb2.Category(title=title, chart=charts, closed=title not in ("loss", "validation"))
            )
    page = layout_pb2.Layout(category=categories).SerializeToString()
    value = Summary.Value(
        tag=metadata.CONFIG_SUMMARY_TAG,
        metadata=metadata.create_summary_metadata(),
        tensor=make_tensor_proto(page),
    )
    return [value]


def clips(videos: Mapping[str, "Tensor"], stamps: Sequence[str] = ()) -> list[Any]:
    """Clips as moving pictures, under the same tag in every run. videos: name -> uint8 [F, 3, H, W]."""
    from tensorboard.compat.proto.summary_pb2 import Summary

    values = []
    for name, video in videos.items():
        size, picture = _gif(rearrange(video, "f c h w -> f h w c").numpy())
        image = Summary.Image(height=size[0], width=size[1], colorspace=3, encoded_image_string=picture)
        values.append(Summary.Value(tag="/".join([*stamps, "clips", name]), image=image))
    return values


def _gif(frames: "np.ndarray") -> tuple[tuple[int, int], bytes]:
    """Height, width, and an endless GIF of frames [F, H, W, 3] uint8, small ones enlarged.

    All frames share one palette, which is made before they are enlarged: `training.pictures.gif` makes one a frame, and
    takes ten times as long.
    """
    height, width = frames.shape[1:3]
    times = max(1, -(-LEAST_SIDE // min(height, width)))
    coloured = Image.fromarray(rearrange(frames, "f h w c -> (f h) w c")).quantize(method=Image.Quantize.FASTOCTREE)
    pictures = [
        coloured.crop((0, top, width, top + height)).resize((width * times, height * times), Image.Resampling.NEAREST)
        for top in range(0, len(frames) * height, height)
    ]
    stream = io.BytesIO()
    pictures[0].save(stream, "GIF", save_all=True, append_images=pictures[1:], duration=1000 // FPS, loop=0)
    return (height * times, width * times), stream.getvalue()


def write(file: Path, values: Sequence[Any], step: int) -> None:
    """An event file of that name, whole or not at all."""
    from tensorboard.compat.proto.event_pb2 import Event
    from tensorboard.compat.proto.summary_pb2 import Summary
    from tensorboard.summary.writer.record_writer import RecordWriter

    stream = io.BytesIO()
    records = RecordWriter(stream)
    now = time.time()
    records.write(Event(wall_time=now, file_version="brain.Event:2").SerializeToString())
    for value in values:
        records.write(Event(wall_time=now, step=step, summary=Summary(value=[value])).SerializeToString())
    file.parent.mkdir(parents=True, exist_ok=True)
    partial = file.with_name(f".{file.name.replace('tfevents', 'partial')}")
    partial.write_bytes(stream.getvalue())
    partial.replace(file)
