import pytest
import torch

from hallo3_lightning.diffusion.process import Process
from hallo3_lightning.diffusion.schedule import Oddities, nearest, schedule, trailing_steps


def test_steps_trail_from_pure_noise():
    assert trailing_steps(50, 1000)[:2] == [999, 979]
    assert trailing_steps(50, 1000)[-1] == 19
    assert trailing_steps(12, 1000)[0] == 999


def test_a_sane_schedule_has_the_alphas_that_the_network_was_trained_at():
    process = Process()
    visited = schedule(process, 7)
    assert torch.equal(visited.clean_alphas.float(), process.sqrt_alphas[list(visited.steps)])
    assert torch.equal(visited.alphas[:-1], visited.clean_alphas)
    assert (visited.alphas[0], visited.alphas[-1]) == (0, 1)
    assert visited.draws == (1, 2, 3, 4, 5, 6, 7)


def test_the_published_subset_keeps_its_ends_and_moves_the_rest():
    process = Process()
    sane, odd = schedule(process, 50), schedule(process, 50, Oddities(rescaled_on_subset=True))
    assert odd.alphas[0] == 0
    torch.testing.assert_close(odd.alphas[-2].float(), process.plain_sqrt_alphas[19])
    moved = (odd.alphas - sane.alphas).abs().max()
    assert 5e-4 < moved < 7e-4


def test_nearest_alphas_change_nothing_where_alphas_are_the_tables():
    process = Process()
    kept, rounded = schedule(process, 9), schedule(process, 9, Oddities(nearest_alphas=True))
    assert torch.equal(kept.clean_alphas, rounded.clean_alphas)


def test_published_estimates_use_table_entries_and_steps_do_not():
    process = Process()
    odd = schedule(process, 50, Oddities(rescaled_on_subset=True, nearest_alphas=True))
    assert all(float(alpha) in process.sqrt_alphas.double().tolist() for alpha in odd.clean_alphas)
    assert not torch.equal(odd.clean_alphas, odd.alphas[:-1])


def test_wasted_draws_are_the_first_of_two():
    assert schedule(Process(), 4, Oddities(wasted_draws=True)).draws == (1, 3, 5, 7)


@pytest.mark.parametrize(("value", "entry"), [(0.2, 0.25), (0.6, 0.5), (2.0, 1.0)])
def test_nearest(value, entry):
    assert nearest(torch.tensor([value]), torch.tensor([1.0, 0.5, 0.25])) == entry
