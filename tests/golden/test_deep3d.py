"""R-Net against Deep3DFaceRecon's."""

import torch
from torch.nn.functional import interpolate

from hallo3_lightning.backbones.deep3d import SIZE, RNet
from tests.golden.evaluation_set import recorded, sum_of
from tests.golden.near import error

TOLERANCE = 1e-4
"""Relative."""


@torch.no_grad()
def test_numbers():
    record = recorded("deep3d")
    weights = record.weights()
    assert sum_of(weights) == record.facts["weights_sha256"]
    network = RNet().eval()
    network.load_state_dict(weights)
    faces = interpolate(record.tensors["low_f32"], (SIZE, SIZE), mode="bilinear", align_corners=True)
    faces = (faces * 255).round() / 255
    assert error(network.numbers(faces), record.tensors["coeffs257"]) <= TOLERANCE
    found = network(faces)
    assert error(found.expression, record.tensors["exp64"]) <= TOLERANCE
    assert error(found.angle, record.tensors["angle3"]) <= TOLERANCE
    assert torch.equal(found.shift, network.numbers(faces)[:, 254:])
