"""A network in an ONNX file, run by onnxruntime."""

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from hallo3_lightning.backbones.weight_files import sha256_of
from hallo3_lightning.errors import UsageError


@dataclass(frozen=True)
class Signature:
    """What a network takes and gives."""

    input_shape: tuple[int | str | None, ...]
    """A name or None where any size will do."""
    outputs: tuple[str, ...]
    """Their names, in the order of the file."""


@dataclass(frozen=True)
class OnnxFile:
    """A network with one input; opened when it is first run, so that it travels to worker processes as a path."""

    path: Path
    threads: int = 1
    """Of one process: workers run side by side."""

    def __reduce__(self) -> tuple[Any, ...]:
        return OnnxFile, (self.path, self.threads)

    @property
    def sha256(self) -> str:
        """Of the file."""
        return sha256_of(self.path)

    @property
    def input_shape(self) -> list[int | str | None]:
        """Sizes of the input; a name or None where any size will do."""
        return self._session.get_inputs()[0].shape

    def signature(self) -> Signature:
        """What the file takes and gives. It is opened for that alone: the process that asks may leave the work to
        others."""
        session = self._opened()
        return Signature(tuple(session.get_inputs()[0].shape), tuple(output.name for output in session.get_outputs()))

    def run(self, values: np.ndarray) -> list[np.ndarray]:
        """All outputs for that input, in the order of the file."""
        return self._session.run(None, {self._session.get_inputs()[0].name: values})

    @cached_property
    def _session(self) -> Any:
        return self._opened()

    def _opened(self) -> Any:
        onnxruntime = _runtime()
        from onnxruntime.capi import onnxruntime_pybind11_state as faults

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = self.threads
        options.inter_op_num_threads = 1
        options.log_severity_level = 3  # errors: released files have initializers that no node uses, one warning each
        try:
            return onnxruntime.InferenceSession(str(self.path), options, providers=["CPUExecutionProvider"])
        except (faults.InvalidProtobuf, faults.InvalidGraph, faults.InvalidArgument, faults.Fail) as error:
            told = str(error).splitlines()[0]
            raise UsageError(
                f"{self.path} is no ONNX network ({told}); get it again, and see `hallo3 doctor` for the one meant"
            ) from error


def _runtime() -> Any:
    try:
        import onnxruntime
    except ModuleNotFoundError as error:
        raise UsageError(
            "onnxruntime is not installed; pip install 'hallo3_lightning[prepare]', or give a faces.jsonl instead of "
            "detector files"
        ) from error
    return onnxruntime
