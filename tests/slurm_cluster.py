"""A Slurm cluster of one node in a temporary folder, for tests. Run as a program, it keeps one for you to try things:

    python tests/slurm_cluster.py

Debian's slurm-wlm and munge bring all it needs. It has a munge key, sockets and ports of its own, and leaves any other
Slurm of the machine alone.
"""

import contextlib
import os
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

PROGRAMS = ("setpriv", "munged", "slurmctld", "slurmd", "sbatch", "srun", "squeue", "scontrol", "scancel")
_SBIN = "/usr/sbin:/sbin"  # not every user's PATH has it
_SECONDS_TO_START = 30


@dataclass
class Cluster:
    """A cluster that runs.

    Attributes:
        environment: variables that lead Slurm's programs to it.
        folder: with the logs of its daemons.
        cpus: of its node.
    """

    environment: dict[str, str]
    folder: Path
    cpus: int

    def __call__(self, program: str, *arguments: str) -> str:
        """Run one of Slurm's programs; returns what it prints. Raises: RuntimeError with that if it fails."""
        done = subprocess.run(
            [program, *arguments], env=os.environ | self.environment, text=True, capture_output=True, timeout=60
        )
        if done.returncode:
            raise RuntimeError(f"{program} {' '.join(arguments)}: {done.stderr or done.stdout}")
        return done.stdout


def why_not() -> str | None:
    """Why no cluster can be started here; None if one can."""
    missing = [program for program in PROGRAMS if shutil.which(program, path=_path()) is None]
    if missing:
        return f"not installed: {', '.join(missing)} (apt install slurm-wlm munge)"
    if os.geteuid() != 0:
        return "Slurm's daemons need root to start jobs"
    return None


@contextlib.contextmanager
def slurm_cluster(*, cpus: int = 2) -> Iterator[Cluster]:
    """Start a cluster whose only node has some CPUs, however many the machine has, and stop it afterwards.

    Raises: RuntimeError with the daemon's log if one does not start.
    """
    with contextlib.ExitStack() as stack:
        # A short path, since that of a socket has 107 characters at most; munged refuses one that others could change.
        folder = Path(tempfile.mkdtemp(prefix="slurm-", dir="/tmp"))
        stack.callback(shutil.rmtree, folder, ignore_errors=True)
        folder.chmod(0o755)  # munged wants everyone to reach its socket
        key, munge_socket, config = folder / "key", folder / "munge", folder / "slurm.conf"
        key.touch(mode=0o400)
        key.write_bytes(os.urandom(128))
        for name in ("state", "spool"):
            (folder / name).mkdir()
        controller, node = _free_ports(2)
        config.write_text(_configuration(folder, cpus, controller, node), encoding="utf-8")
        environment = {"SLURM_CONF": str(config), "PATH": _path()}
        cluster = Cluster(environment, folder, cpus)
        files = [f"--{name}-file={folder}/munge.{name}" for name in ("pid", "log", "seed")]
        munged = ["munged", "--foreground", f"--key-file={key}", f"--socket={munge_socket}", *files]
        stack.enter_context(_daemon(munged, cluster, munge_socket.exists))
        stack.enter_context(_daemon(["slurmctld", "-D"], cluster, lambda: _answers(cluster, "scontrol", "ping")))
        is_up: Callable[[], bool] = lambda: _answers(cluster, "sinfo", "--noheader", "--format=%T", wanted="idle")  # noqa: E731
        stack.enter_context(_daemon(["slurmd", "-D"], cluster, is_up))
        try:
            yield cluster
        finally:
            with contextlib.suppress(RuntimeError):
                cluster("scancel", "--user=root")
                _wait(lambda: not cluster("squeue", "--noheader").strip(), 20)


def _configuration(folder: Path, cpus: int, controller: int, node: int) -> str:
    host = socket.gethostname().partition(".")[0]
    return f"""\
ClusterName=snntrain
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={controller}
SlurmdPort={node}
SlurmUser=root
AuthType=auth/munge
AuthInfo=socket={folder}/munge,cred_expire=3
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd.pid
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU
SlurmdParameters=config_overrides
MinJobAge=300
KillWait=10
ReturnToService=2
NodeName={host} NodeAddr=127.0.0.1 CPUs={cpus} State=UNKNOWN
PartitionName=main Nodes={host} Default=YES MaxTime=60 State=UP
"""


@contextlib.contextmanager
def _daemon(command: Sequence[str], cluster: Cluster, has_started: Callable[[], bool]) -> Iterator[None]:
    """Run a daemon in the foreground, with its output in <its name>.txt, and stop it afterwards."""
    log = cluster.folder / f"{command[0]}.txt"
    with log.open("w") as output:
        process = subprocess.Popen(  # setpriv: the daemon ends with this process even if that is killed
            ["setpriv", "--pdeathsig", "TERM", *command],
            env=os.environ | cluster.environment,
            stdout=output,
            stderr=output,
            stdin=subprocess.DEVNULL,
        )
    try:
        _wait(lambda: process.poll() is not None or has_started(), _SECONDS_TO_START)
        if process.poll() is not None or not has_started():
            raise RuntimeError(f"{command[0]} did not start: {log.read_text(encoding='utf-8', errors='replace')}")
        yield
    finally:
        process.terminate()
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _answers(cluster: Cluster, program: str, *arguments: str, wanted: str = "UP") -> bool:
    try:
        return wanted in cluster(program, *arguments)
    except RuntimeError:
        return False


def _wait(condition: Callable[[], bool], seconds: float) -> bool:
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.1)
    return True


def _free_ports(count: int) -> list[int]:
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for one in sockets:
            one.bind(("127.0.0.1", 0))
        return [one.getsockname()[1] for one in sockets]


def _path() -> str:
    return f"{os.environ.get('PATH', os.defpath)}:{_SBIN}"


if __name__ == "__main__":
    if reason := why_not():
        raise SystemExit(reason)
    with slurm_cluster() as running:
        print(running("sinfo"), end="")
        print(f"export SLURM_CONF={running.environment['SLURM_CONF']}   # in another terminal; Ctrl-C here stops it")
        with contextlib.suppress(KeyboardInterrupt):
            while True:
                time.sleep(3600)
