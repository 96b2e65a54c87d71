"""A Slurm of its own on this machine: munged, slurmctld and slurmd, with two GPUs that are none."""

from __future__ import annotations

import os
import shutil
import socket
import stat
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

PROGRAMS = ("munged", "mungekey", "slurmctld", "slurmd", "sbatch", "scontrol", "sinfo")
#: Seconds after which a requeued job starts again: the life of its credential, which Slurm takes
#: to be five at least and 120 if not said.
REQUEUE_SECONDS = 5

SLURM_CONF = """\
ClusterName=toy
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={ports[0]}
SlurmdPort={ports[1]}
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
AuthInfo=socket={folder}/munge.socket,cred_expire={requeue}
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
SlurmdParameters=config_overrides
SchedulerParameters=batch_sched_delay=0,sched_interval=1
ReturnToService=2
MailProg=/bin/true
GresTypes=gpu
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/slurmd.log
NodeName={host} NodeAddr=127.0.0.1 CPUs=4 RealMemory=1000 Gres=gpu:2
PartitionName=toy Nodes={host} Default=YES State=UP
"""


def why_not() -> str | None:
    """Return why no Slurm can be started here, or None."""
    if os.geteuid() != 0:
        return "needs root, to start Slurm"
    missing = [program for program in PROGRAMS if shutil.which(program) is None]
    if missing:
        return (
            f"needs {', '.join(missing)}: apt-get install --no-install-recommends slurmctld "
            "slurmd slurm-client munge"
        )
    return None


@contextmanager
def slurm_cluster() -> Iterator[Path]:
    """Run a Slurm with four cores and two GPUs; gives the path of its slurm.conf."""
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="mlffdb-slurm-")))
        folder.chmod(0o755)
        conf = _configure(folder)
        socket_path = folder / "munge.socket"
        munged = ["munged", "--foreground", "--force", f"--socket={socket_path}"]
        munged += [f"--key-file={folder}/munge.key", f"--pid-file={folder}/munged.pid"]
        munged += [f"--seed-file={folder}/munged.seed", f"--log-file={folder}/munged.log"]
        stack.enter_context(_running(munged))
        _wait_until(socket_path.exists, folder)
        stack.enter_context(_running(["slurmctld", "-D", "-c", "-f", str(conf)]))
        stack.enter_context(_running(["slurmd", "-D", "-f", str(conf)]))
        environment = {**os.environ, "SLURM_CONF": str(conf)}
        _wait_until(lambda: "idle" in _output(["sinfo", "-h", "-o", "%t"], environment), folder)
        yield conf
        _output(["scancel", "--quiet", "--signal=KILL", "--full", "--user=root"], environment)
        _output(["scancel", "--quiet", "--user=root"], environment)


def _configure(folder: Path) -> Path:
    host = socket.gethostname().partition(".")[0]
    for name in ("state", "spool"):
        (folder / name).mkdir()
    for index in range(2):  # Slurm takes character devices only
        try:
            os.mknod(folder / f"gpu{index}", stat.S_IFCHR | 0o666, os.makedev(1, 3))
        except PermissionError:
            pytest.skip("root may not make device nodes here")
    (folder / "gres.conf").write_text(f"NodeName={host} Name=gpu File={folder}/gpu[0-1]\n")
    subprocess.run(["mungekey", "--create", f"--keyfile={folder}/munge.key"], check=True)
    with socket.create_server(("127.0.0.1", 0)) as one, socket.create_server(("", 0)) as two:
        ports = (one.getsockname()[1], two.getsockname()[1])
    conf = folder / "slurm.conf"
    conf.write_text(
        SLURM_CONF.format(host=host, ports=ports, folder=folder, requeue=REQUEUE_SECONDS)
    )
    return conf


@contextmanager
def _running(command: list[str]) -> Iterator[None]:
    process = subprocess.Popen(
        command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    try:
        yield
    finally:
        process.terminate()
        try:
            process.wait(timeout=10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _output(command: list[str], environment: dict[str, str]) -> str:
    done = subprocess.run(
        command, env=environment, capture_output=True, text=True, timeout=30, check=False
    )
    return done.stdout


def _wait_until(condition: Callable[[], object], folder: Path, seconds: float = 30.0) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            said = [f"{log.name}: {log.read_text()[-1000:]}" for log in folder.glob("*.log")]
            pytest.fail("Slurm does not start\n" + "\n".join(said))
        time.sleep(0.05)
