"""Tiny ONNX networks whose outputs are known functions of the picture, written as files for onnxruntime."""

from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

REACH = (1.0, 1.5, 0.75, 2.0)
"""Of a face to the left, up, right and down of its anchor, in strides."""

LANDMARKS = ((-0.5, -0.6), (0.4, -0.7), (0.0, 0.1), (-0.3, 0.8), (0.35, 0.9))
"""From the anchor, in strides."""


def write_detector(path: Path, level: int = 1, size: int | None = None) -> Path:
    """A network of SCRFD's form that fires on one level, in each cell by its brightness b in -1..1.

    The first anchor's score is sigmoid(8 b), the second's sigmoid(8 b - 1), so that it never wins; all faces reach as
    REACH and LANDMARKS say.
    """
    nodes, outputs, constants = [], [], []
    for kind, channels in (("score", 1), ("box", 4), ("landmarks", 10)):
        for i, stride in enumerate((8, 16, 32)):
            name, width = f"{kind}{stride}", 2 * channels
            weights = np.zeros((width, 3, 1, 1), np.float32)
            bias = np.tile({"box": REACH, "landmarks": np.ravel(LANDMARKS)}.get(kind, 0.0), (2, 1)).ravel()
            if kind == "score":
                weights[:] = 8 / 3 if i == level else 0
                bias = np.array([0, -1]) if i == level else np.array([-9, -9])
            constants += [
                numpy_helper.from_array(weights, f"{name}.weight"),
                numpy_helper.from_array(bias.astype(np.float32), f"{name}.bias"),
                numpy_helper.from_array(np.array([-1, channels]), f"{name}.shape"),
            ]
            nodes += [
                helper.make_node(
                    "AveragePool", ["in"], [f"{name}.mean"], kernel_shape=[stride] * 2, strides=[stride] * 2
                ),
                helper.make_node("Conv", [f"{name}.mean", f"{name}.weight", f"{name}.bias"], [f"{name}.conv"]),
                helper.make_node("Transpose", [f"{name}.conv"], [f"{name}.last"], perm=[0, 2, 3, 1]),
                helper.make_node("Reshape", [f"{name}.last", f"{name}.shape"], [f"{name}.flat"]),
                helper.make_node("Sigmoid" if kind == "score" else "Identity", [f"{name}.flat"], [name]),
            ]
            outputs.append(helper.make_tensor_value_info(name, TensorProto.FLOAT, ["n", channels]))
    return _write(path, nodes, [1, 3, size or "h", size or "w"], outputs, constants)


def write_embedder(path: Path) -> Path:
    """A network of ArcFace's form: the mean of each colour in each quarter of the crop, [1, 12], colour by colour."""
    nodes = [
        helper.make_node("AveragePool", ["in"], ["quarters"], kernel_shape=[56, 56], strides=[56, 56]),
        helper.make_node("Flatten", ["quarters"], ["out"]),
    ]
    return _write(path, nodes, ["n", 3, 112, 112], [helper.make_tensor_value_info("out", TensorProto.FLOAT, ["n", 12])])


def _write(path: Path, nodes: list, shape: list, outputs: list, constants: tuple | list = ()) -> Path:
    graph = helper.make_graph(
        nodes, "tiny", [helper.make_tensor_value_info("in", TensorProto.FLOAT, shape)], outputs, constants
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.checker.check_model(model)
    path.parent.mkdir(parents=True, exist_ok=True)
    onnx.save(model, path)
    return path
