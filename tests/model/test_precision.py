"""What stays exact where the rest is computed in bfloat16."""

import torch

from hallo3_lightning.model.block import ExpertNorm
from hallo3_lightning.model.transformer import OutputNorm, TimeEmbedding


def test_time_and_modulation_keep_the_precision_of_their_weights_under_autocast():
    norm, embedding, out = ExpertNorm(12, 20, 1e-5), TimeEmbedding(12, 20), OutputNorm(12, 20, 1e-5)
    tokens, steps = torch.randn(2, 3, 5, 12), torch.tensor([7, 999])
    exact = embedding(steps)
    with torch.autocast("cpu", torch.bfloat16):
        time = embedding(steps)
        given = norm.modulations(time)
        shown = out(tokens, time)
    assert torch.equal(time, exact)
    assert torch.equal(given[0].scale, norm.modulations(exact)[0].scale)
    assert torch.equal(given[1].gate, norm.modulations(exact)[1].gate)
    assert torch.equal(shown, out(tokens, exact))
