"""A cluster for the session, and a run that nothing broke."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator

import pytest

from hallo3_lightning.ablation.runs import RunFolder
from tests.behaviour.conftest import studio  # noqa: F401  (a fixture)
from tests.behaviour.studio import ROOT, Studio
from tests.slurm.cluster import cluster

TWO_NODES = (
    "--parallel.shard=2",
    "--trainer.devices=1",
    "--trainer.max_steps=60",
    "--trainer.val_check_interval=100",
)


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if "slurm" not in config.option.markexpr:
        for item in items:
            if item.get_closest_marker("slurm"):
                item.add_marker(pytest.mark.skip(reason="`make test-slurm` runs it"))


@pytest.fixture(scope="session")
def slurm(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    """The environment of a cluster whose nodes find each other on this machine."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # else pytest would die and leave the daemons behind
    with cluster(tmp_path_factory.mktemp("slurm") / "cluster") as environment:
        yield environment | {
            "MASTER_ADDR": "127.0.0.1",
            "GLOO_SOCKET_IFNAME": "lo",
            "OMP_NUM_THREADS": "1",
            "PYTHONPATH": str(ROOT),
        }


@pytest.fixture(scope="session")
def unbroken(studio: Studio) -> RunFolder:  # noqa: F811
    """The run of two ranks that those of two nodes must equal."""
    typed = ["fit", *studio.identity, *TWO_NODES[:1], "--trainer.devices=2", *TWO_NODES[2:]]
    ranks = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
    command = [*ranks, "-m", "hallo3_lightning.cli", *typed]
    subprocess.run(command, cwd=ROOT, env=environment, check=True, timeout=200)
    return studio.place(*typed)
