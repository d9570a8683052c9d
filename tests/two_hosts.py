"""Two hosts for tests: network namespaces with names of their own, one cable between them, and one file system."""

import contextlib
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

_ADDRESSES = ("10.213.77.1", "10.213.77.2")


@dataclass
class Host:
    """One of the two.

    Attributes:
        place: 0 or 1.
        namespace: its name for `ip netns`, and as a host.
        interface: the end of the cable.
    """

    place: int
    namespace: str
    interface: str

    def torchrun(self, *arguments: str, cwd: Path, output: Path) -> subprocess.Popen:
        """Start torchrun with one process here, which waits for that of the other host.

        Args:
            arguments: the program and its arguments.
            output: a file for what it prints.
        """
        at_home = "true" if self.place == 0 else "false"
        command = [
            *("ip", "netns", "exec", self.namespace, "unshare", "--uts", "sh", "-c"),
            'hostname "$0" && exec "$@"',
            self.namespace,
            *(sys.executable, "-m", "torch.distributed.run", "--nnodes=2", "--nproc-per-node=1", "--rdzv-id=test"),
            *("--rdzv-backend=c10d", f"--rdzv-endpoint={_ADDRESSES[0]}:29400", f"--rdzv-conf=is_host={at_home}"),
            f"--local-addr={_ADDRESSES[self.place]}",
            *arguments,
        ]
        # In a real network the name of a host leads to its address; here gloo is told which interface to use.
        environment = os.environ | {"GLOO_SOCKET_IFNAME": self.interface, "OMP_NUM_THREADS": "1", "COLUMNS": "160"}
        with output.open("w") as file:
            return subprocess.Popen(command, cwd=cwd, env=environment, stdout=file, stderr=file)

    def unplug(self) -> None:
        """Cut the cable: nothing arrives any more, and nobody is told."""
        _ip("-netns", self.namespace, "link", "set", self.interface, "down")

    def plug(self) -> None:
        """Mend the cable."""
        _ip("-netns", self.namespace, "link", "set", self.interface, "up")


def why_not() -> str | None:
    """Why there can be no two hosts here; None if there can."""
    if os.geteuid() != 0:
        return "network namespaces need root"
    missing = [program for program in ("ip", "unshare") if shutil.which(program) is None]
    if missing:
        return f"not installed: {', '.join(missing)} (apt install iproute2 util-linux)"
    try:
        with two_hosts():
            return None
    except RuntimeError as error:
        return f"no network namespaces: {error}"


@contextlib.contextmanager
def two_hosts() -> Iterator[tuple[Host, Host]]:
    """Make two hosts and remove them afterwards. Raises: RuntimeError if the system does not allow it."""
    hosts = tuple(
        Host(place, f"host{name}{os.getpid()}", f"veth{name}{os.getpid()}") for place, name in enumerate("ab")
    )
    with contextlib.ExitStack() as stack:
        for host in hosts:
            _ip("netns", "add", host.namespace)
            stack.callback(_ip, "netns", "delete", host.namespace)
        first, second = hosts
        _ip(
            *("link", "add", first.interface, "netns", first.namespace, "type", "veth"),
            *("peer", "name", second.interface, "netns", second.namespace),
        )
        for host in hosts:
            _ip("-netns", host.namespace, "address", "add", f"{_ADDRESSES[host.place]}/24", "dev", host.interface)
            for interface in ("lo", host.interface):
                _ip("-netns", host.namespace, "link", "set", interface, "up")
        yield first, second


def _ip(*arguments: str) -> None:
    done = subprocess.run(["ip", *arguments], capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(done.stderr.strip())
