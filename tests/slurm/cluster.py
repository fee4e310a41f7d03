"""A SLURM cluster of two nodes on this machine: its own munged, slurmctld and two slurmd, none of them with systemd."""

import os
import signal
import socket
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

from tests.slurm.waiting import until

CONF = """
ClusterName=tiny
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={controller}
AuthType=auth/munge
AuthInfo=socket={folder}/munge.socket,cred_expire=6
CredType=cred/munge
SlurmUser=root
SlurmdUser=root
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool-%n
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd-%n.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/slurmd-%n.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/none
AccountingStorageType=accounting_storage/none
MpiDefault=none
ReturnToService=2
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
SlurmdParameters=config_overrides
PreemptType=preempt/partition_prio
PreemptMode=REQUEUE
JobRequeue=1
KillWait=20
SchedulerParameters=batch_sched_delay=1,sched_interval=2,bf_interval=2
NodeName=node1 NodeHostname={host} NodeAddr=127.0.0.1 Port={first} CPUs=4 CoresPerSocket=4 RealMemory=2000
NodeName=node2 NodeHostname={host} NodeAddr=127.0.0.1 Port={second} CPUs=4 CoresPerSocket=4 RealMemory=2000
PartitionName=low Nodes=node1,node2 Default=YES PriorityTier=1 PreemptMode=REQUEUE GraceTime=60
PartitionName=high Nodes=node1,node2 PriorityTier=10 PreemptMode=OFF
"""
"""Credentials expire soon, since a requeued job waits that long; four cores are made up for each node."""


@contextmanager
def cluster(folder: Path) -> Iterator[dict[str, str]]:
    """Its environment; when it is left, the daemons are gone, however it is left."""
    (folder / "state").mkdir(parents=True)
    folder.chmod(0o755)
    ports = free_ports(3)
    text = CONF.format(folder=folder, host=socket.gethostname(), controller=ports[0], first=ports[1], second=ports[2])
    (folder / "slurm.conf").write_text(text)
    environment = {**os.environ, "SLURM_CONF": str(folder / "slurm.conf")}
    with ExitStack() as stack:
        stack.callback(stop, folder)
        start_munge(folder)
        for daemon in (["slurmctld"], ["slurmd", "-N", "node1"], ["slurmd", "-N", "node2"]):
            subprocess.run([f"/usr/sbin/{daemon[0]}", *daemon[1:]], env=environment, check=True, cwd=folder)
        until("both nodes are idle", lambda: asked(environment, "sinfo", "-h", "-o", "%T%D", "-p", "low") == "idle2")
        stack.callback(end_jobs, environment)
        yield environment


def end_jobs(environment: dict[str, str]) -> None:
    """At once, and while there are daemons that can."""
    asked(environment, "scancel", "--signal=KILL", "--full", "-u", "root")
    asked(environment, "scancel", "-u", "root")
    until("no job is left", lambda: asked(environment, "squeue", "-h") == "")


def start_munge(folder: Path) -> None:
    """With a key and a socket of its own."""
    (folder / "munge.key").write_bytes(os.urandom(128))
    (folder / "munge.key").chmod(0o600)
    files = {"key-file": "key", "socket": "socket", "pid-file": "pid", "log-file": "log", "seed-file": "seed"}
    options = [f"--{name}={folder}/munge.{ending}" for name, ending in files.items()]
    subprocess.run(["/usr/sbin/munged", "--force", *options], check=True)


def stop(folder: Path) -> None:
    """What wrote its process id into the folder, and nothing else."""
    ids = [int(file.read_text()) for file in (*folder.glob("slurmd-*.pid"), *folder.glob("[sm]*.pid"))]
    for one in dict.fromkeys(ids):
        with suppress(ProcessLookupError):
            os.kill(one, signal.SIGTERM)
    until("the daemons are gone", lambda: not any(Path(f"/proc/{one}").exists() for one in ids))


def asked(environment: dict[str, str], *command: str) -> str:
    """What a command of SLURM answers."""
    return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60).stdout.strip()


def free_ports(count: int) -> list[int]:
    with ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for one in sockets:
            one.bind(("127.0.0.1", 0))
        return [one.getsockname()[1] for one in sockets]
