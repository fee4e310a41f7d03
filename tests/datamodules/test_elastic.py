"""Killed and resumed with other ranks, workers and accumulation, a training reads and learns what an unbroken one does."""

import json
import random
import signal
from collections import defaultdict
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from datamodules.shards import write_shard
from datamodules.synthetic.take import make_take
from hallo3_lightning.training.checkpoints import newest
from hallo3_lightning.training.writing import Folders
from tests.datamodules.ranks import Leg, place, started, train, validate

STEPS, GLOBAL_BATCH = 17, 8


@pytest.fixture(scope="module")
def mixed(heads, tmp_path_factory) -> dict:
    """Two data sets, the second with a sample that is bad; an epoch ends within the run."""
    other = tmp_path_factory.mktemp("other")
    takes = [make_take(5, number, frames=7, size=16) for number in range(5)]
    takes[2] = replace(takes[2], face_embedding=np.full_like(takes[2].face_embedding, np.nan))
    (other / "train").mkdir()
    write_shard(other / "train/a.tar", takes[:3])
    write_shard(other / "train/b.tar", takes[3:])
    mixture = [{"shards": str(heads), "weight": 2}, {"shards": str(other), "weight": 1}]
    return {"shards": str(heads), "mixture": mixture, "window": 2, "seed": 3, "max_bad_fraction": 0.5}


def read(folder: Path) -> dict[int, list[str]]:
    """Step -> "position key" of its clips, by the last leg that made the step."""
    steps: dict[int, list[str]] = {}
    for leg in sorted({path.name.split("-")[0] for path in folder.glob("*.log")}):
        found = defaultdict(list)
        for log in folder.glob(f"{leg}-*.log"):
            for line in log.read_text().splitlines():
                step, clip = line.split(" ", 1)
                found[int(step)].append(clip)
        steps |= {step: sorted(clips, key=lambda clip: int(clip.split()[0])) for step, clips in found.items()}
    return steps


def weights(folder: Path) -> torch.Tensor:
    state = Folders().load_checkpoint(newest(folder / "checkpoints"))
    assert state["global_step"] == STEPS
    assert state["TalkingHead"]["samples_seen"] == STEPS * GLOBAL_BATCH
    return torch.cat([value.flatten() for value in state["state_dict"].values()])


def test_a_chain_of_ranks_killed_between_is_the_unbroken_run(mixed, tmp_path):
    unbroken = Leg(world=1, batch_size=8, accumulate=1, workers=0, steps=STEPS, data=mixed)
    assert started(train, unbroken, tmp_path / "unbroken", "a") == [0]
    chance = random.Random(1)
    chain = [  # each dies within its steps 3 to 5, somewhere in an accumulation
        replace(unbroken, batch_size=2, accumulate=4, workers=2, dies_at=chance.randint(13, 23)),
        replace(unbroken, world=2, batch_size=2, accumulate=2, workers=1, dies_at=chance.randint(7, 11)),
        replace(unbroken, world=4, batch_size=2, accumulate=1, workers=0, dies_at=chance.randint(4, 6)),
        replace(unbroken, batch_size=2, accumulate=4, workers=1),
    ]
    for number, leg in enumerate(chain):
        statuses = started(train, leg, tmp_path / "chain", f"{number}")
        assert statuses[0] == (0 if leg.dies_at is None else -signal.SIGKILL), statuses
    assert read(tmp_path / "chain") == read(tmp_path / "unbroken")
    assert [len(clips) for clips in read(tmp_path / "chain").values()] == [GLOBAL_BATCH] * STEPS
    torch.testing.assert_close(weights(tmp_path / "chain"), weights(tmp_path / "unbroken"), rtol=0, atol=1e-6)
    assert "non-finite face_embedding" in (tmp_path / "chain/bad_samples.jsonl").read_text()


@pytest.fixture(scope="module")
def uneven(tmp_path_factory) -> dict:
    """Shards of 1, 0, 997 and 2 samples to train on, of 1, 0, 3 and 1 to validate on."""
    folder = tmp_path_factory.mktemp("uneven")
    take = make_take(5, 0, frames=6, size=16)
    for split, shards in {"train": (1, 0, 997, 2), "held_out": (1, 0, 3, 1)}.items():
        (folder / split).mkdir()
        numbers = iter(range(sum(shards)))
        for shard, count in enumerate(shards):
            takes = [replace(take, key=f"{split}-{next(numbers):03d}") for _ in range(count)]
            write_shard(folder / split / f"{shard}.tar", [distinct(one, i) for i, one in enumerate(takes)])
    return {"shards": str(folder), "seed": 3}


def distinct(take, number: int):
    """Each take in its own light, so that each has its own error."""
    return replace(take, video=(take.video * (0.5 + number % 7 / 20)).astype(np.uint8))


def test_ranks_validate_every_clip_once_whatever_the_shards(uneven, tmp_path):
    """Ranks with different numbers of batches would wait for each other until the timeout."""
    one = Leg(world=1, batch_size=6, accumulate=1, workers=0, steps=2, data=uneven)
    two = replace(one, world=2, batch_size=3)
    assert started(validate, one, tmp_path) == [0]
    assert started(validate, two, tmp_path) == [0, 0]
    alone, *both = (json.loads((tmp_path / f"{name}.json").read_text()) for name in ("1-rank0", "2-rank0", "2-rank1"))
    clips = [(f"held_out-{number:03d}", number) for number in range(5)]
    assert [(key, position, True) for key, position in clips] == [tuple(row) for row in alone["rows"]]
    assert [rank["batches"] for rank in both] == [2, 2]
    rows = [tuple(row) for rank in both for row in rank["rows"]]
    assert sorted((key, position) for key, position, counted in rows if counted) == clips
    assert [row for row in rows if not row[2]] == [("held_out-000", 0, False)]
    assert both[0]["error"] == both[1]["error"] == pytest.approx(alone["error"], rel=1e-6)
    assert [rank["seen"] for rank in (alone, *both)] == [12] * 3


def test_ranks_of_one_replica_read_the_same(tmp_path):
    assert started(place, Leg(world=2, batch_size=1, accumulate=1, workers=0, steps=1), tmp_path) == [0, 0]
    assert [json.loads((tmp_path / f"place{rank}.json").read_text()) for rank in range(2)] == [[0, 1]] * 2
