"""TensorBoard's HParams page for a grid: every axis and every metric of every run, declared and filled."""

import time
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from shutil import rmtree
from typing import TYPE_CHECKING, Any

from hallo3_lightning.ablation.grid import Arm, Grid

if TYPE_CHECKING:
    from hallo3_lightning.ablation.results import Result


def write_board(grid: Grid, results: "Sequence[Result]", folder: Path) -> None:
    """Write the runs' settings and final metrics into folder/<run name>/, in place of what was there.

    The page takes its columns from the first run that it reads, whichever that is, and leaves cells empty without a
    word. So every run declares all of them, only what every run has is declared, and the settings are the page's own:
    arm, seed, and each axis.
    """
    metrics = [name for name in results[0].report["metrics"] if all(name in r.report["metrics"] for r in results)]
    settings = {result.name: _settings(grid, result) for result in results}
    _forget(folder, keep=settings)
    experiment = _experiment(grid, settings.values(), metrics)
    for result in results:
        values = {name: result.report["metrics"][name]["value"] for name in metrics}
        _write_run(folder / result.name, experiment, result, settings[result.name], values)


def _settings(grid: Grid, result: "Result") -> dict[str, str | float]:
    """arm, seed and every axis of the grid; an arm that leaves an axis alone says so."""
    arm = next(arm for arm in grid.arms if arm.name == result.arm)
    return {"arm": arm.name, "seed": float(result.seed), **{axis: _setting(grid, arm, axis) for axis in grid.axes}}


def _setting(grid: Grid, arm: Arm, axis: str) -> str | float:
    """A number where all arms have one, else text: the page knows one kind for a column."""
    values = [other.settings.get(axis, "as the base") for other in grid.arms]
    value = arm.settings.get(axis, "as the base")
    numbers = all(isinstance(v, int | float) and not isinstance(v, bool) for v in values)
    return float(value) if numbers else str(value)


def _forget(folder: Path, keep: Iterable[str]) -> None:
    """Remove the event files of an earlier writing, and runs that are no longer of the grid."""
    for run in folder.iterdir() if folder.is_dir() else []:
        if run.name not in keep:
            rmtree(run)
        else:
            for file in run.glob("events.out.tfevents.*"):
                file.unlink()


def _experiment(grid: Grid, settings: Iterable[Mapping[str, str | float]], metrics: Sequence[str]) -> Any:
    from tensorboard.plugins.hparams import api_pb2, plugin_data_pb2

    rows = list(settings)
    infos = []
    for name in rows[0]:
        values = list(dict.fromkeys(row[name] for row in rows))
        text = any(isinstance(value, str) for value in values)
        info = api_pb2.HParamInfo(name=name, type=api_pb2.DATA_TYPE_STRING if text else api_pb2.DATA_TYPE_FLOAT64)
        info.domain_discrete.extend([str(value) if text else value for value in values])
        infos.append(info)
    tags = [api_pb2.MetricInfo(name=api_pb2.MetricName(tag=_tag(name)), display_name=name) for name in metrics]
    return plugin_data_pb2.HParamsPluginData(
        experiment=api_pb2.Experiment(
            name=grid.name,
            description=grid.question,
            hparam_infos=infos,
            metric_infos=tags,
            time_created_secs=time.time(),
        )
    )


def _write_run(
    folder: Path, experiment: Any, result: "Result", settings: Mapping[str, str | float], values: Mapping[str, float]
) -> None:
    from tensorboard.compat.proto.event_pb2 import Event
    from tensorboard.compat.proto.summary_pb2 import Summary
    from tensorboard.plugins.hparams import api_pb2, metadata, plugin_data_pb2
    from tensorboard.summary.writer.event_file_writer import EventFileWriter

    start = plugin_data_pb2.SessionStartInfo(group_name=result.name, start_time_secs=time.time())
    for name, value in settings.items():
        if isinstance(value, str):
            start.hparams[name].string_value = value
        else:
            start.hparams[name].number_value = value
    end = plugin_data_pb2.SessionEndInfo(status=api_pb2.STATUS_SUCCESS, end_time_secs=time.time())
    pages = {
        metadata.EXPERIMENT_TAG: experiment,
        metadata.SESSION_START_INFO_TAG: plugin_data_pb2.HParamsPluginData(session_start_info=start),
        metadata.SESSION_END_INFO_TAG: plugin_data_pb2.HParamsPluginData(session_end_info=end),
    }
    summary = [
        Summary.Value(tag=tag, metadata=metadata.create_summary_metadata(page), tensor=metadata.NULL_TENSOR)
        for tag, page in pages.items()
    ]
    scalars = [Summary.Value(tag=_tag(name), simple_value=value) for name, value in values.items()]
    writer = EventFileWriter(str(folder))
    writer.add_event(Event(wall_time=time.time(), step=0, summary=Summary(value=summary)))
    writer.add_event(
        Event(wall_time=time.time(), step=int(result.facts.get("steps") or 0), summary=Summary(value=scalars))
    )
    writer.close()


def _tag(metric: str) -> str:
    return f"final/{metric}"
