"""What holds for every metric: one row a clip, whatever the order, the batches and the ranks."""

import multiprocessing
from pathlib import Path

import pytest
import torch
from torch import distributed

from hallo3_lightning.batch import Batch
from hallo3_lightning.errors import UsageError
from hallo3_lightning.evaluation.metrics.mouth_correlation_shuffled import MouthCorrelationShuffled
from hallo3_lightning.evaluation.metrics.psnr import PSNR
from hallo3_lightning.find import find, names

ALL = names("evaluation.metrics")


@pytest.fixture
def generated(people: Batch) -> torch.Tensor:
    """Clips with something wrong in each way: late, dimmer, noisy."""
    noise = 6 * torch.randn(people.video.shape, generator=torch.Generator().manual_seed(1))
    return (0.8 * people.video.roll(1, dims=1) + noise).clamp(0, 255).to(torch.uint8)


def collected(name: str, video: torch.Tensor, batch: Batch, parts: list[list[int]]):
    metric = find("evaluation.metrics", name)()
    for part in parts:
        metric.update(video[part], batch.rows(torch.tensor(part)), given=1, borders=(9,))
    return metric


@pytest.mark.parametrize("name", ALL)
def test_parts_order_and_repeats_change_nothing(name, people, generated):
    whole = collected(name, generated, people, [list(range(12))])
    parts = collected(name, generated, people, [[7, 3, 11], [0, 1, 2, 4], [10, 3, 9, 8, 7], [6, 5]])
    assert list(parts.rows()) == list(whole.rows()) == sorted(people.keys)
    assert parts.rows() == pytest.approx(whole.rows(), rel=1e-6)
    assert float(parts.compute()) == pytest.approx(float(whole.compute()), rel=1e-6)


@pytest.mark.parametrize("name", ALL)
def test_reset_forgets(name, people, generated):
    metric = collected(name, generated, people, [[0, 1, 2]])
    metric.reset()
    assert metric.rows() == {}
    metric.update(generated[3:5], people.rows(slice(3, 5)), given=1, borders=(9,))
    assert set(metric.rows()) <= {"clip-03", "clip-04"}


def test_clips_of_one_sample_are_told_apart(people):
    twice = people.rows(slice(0, 2)).with_(keys=("a", "a"), starts=torch.tensor([0, 17]))
    metric = PSNR()
    metric.update(twice.video, twice)
    assert list(metric.rows()) == ["a", "a@17"]


def test_missing_ground_truth_is_named(people):
    metric = MouthCorrelationShuffled()
    with pytest.raises(UsageError, match=r"MouthCorrelationShuffled needs truth.*clip-00"):
        metric.update(people.video, people.with_(truth=None))
    with pytest.raises(UsageError, match=r"tracks aperture.*clip-00.*it has yaw"):
        metric.update(people.video, people.with_(truth={"yaw": people.truth["aperture"]}))


def test_shapes_and_given_are_checked(people):
    with pytest.raises(UsageError, match="must agree"):
        PSNR().update(people.video[:, :9], people)
    with pytest.raises(UsageError, match="leaves none"):
        PSNR().update(people.video, people, given=17)


def _rank(rank: int, meeting: str, video: torch.Tensor, batch: Batch, results) -> None:
    torch.set_num_threads(1)
    distributed.init_process_group("gloo", init_method=f"file://{meeting}", rank=rank, world_size=3)
    metrics = [MouthCorrelationShuffled(), PSNR()]
    for metric in metrics:
        for first in {0: [0, 2], 1: [2, 4], 2: []}[rank]:  # one clip on two ranks, none on the third
            metric.update(video[first : first + 2], batch.rows(slice(first, first + 2)))
    results.put((rank, [(metric.rows(), float(metric.compute())) for metric in metrics]))
    distributed.destroy_process_group()


def test_ranks_agree_with_one_process_even_when_one_is_empty(people, generated, tmp_path: Path):
    processes = multiprocessing.get_context("fork")
    results = processes.Queue()
    args = (str(tmp_path / "meeting"), generated, people, results)
    ranks = [processes.Process(target=_rank, args=(rank, *args)) for rank in range(3)]
    for process in ranks:
        process.start()
    answers = dict(results.get(timeout=60) for _ in ranks)
    for process in ranks:
        process.join()
    alone = [MouthCorrelationShuffled(), PSNR()]
    for metric in alone:
        metric.update(generated[:6], people.rows(slice(0, 6)))
    expected = [(metric.rows(), float(metric.compute())) for metric in alone]
    assert answers[0] == answers[1] == answers[2]
    for (rows, mean), (rows_alone, mean_alone) in zip(answers[0], expected, strict=True):
        assert rows == pytest.approx(rows_alone, rel=1e-6)
        assert mean == pytest.approx(mean_alone, rel=1e-6)
