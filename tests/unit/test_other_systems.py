"""What Windows does not have: a net trains without it, and what cannot work there is refused by name."""

import ast
from pathlib import Path

import pytest
from programs import run_script

from snntrain.export import lava_run
from snntrain.export.lava_run import LavaError, check_system
from snntrain.installation import IMPORT_FOLDER

MODULES = ("fcntl", "resource", "pwd", "grp", "termios", "posix", "syslog", "crypt")
ABSENT = {
    "os": (
        *("fork", "getuid", "geteuid", "getgid", "setsid", "killpg", "getpgid", "pread", "pwrite", "O_CLOEXEC"),
        *("O_DIRECTORY", "O_NOFOLLOW", "sysconf", "sched_getaffinity", "statvfs", "fchmod", "chown", "mkfifo", "nice"),
        *("getloadavg", "uname", "wait", "fdatasync", "register_at_fork", "WNOHANG", "posix_fallocate"),
    ),
    "signal": ("SIGHUP", "SIGKILL", "SIGPIPE", "SIGUSR1", "SIGUSR2", "SIGALRM", "SIGCHLD", "alarm", "pthread_kill"),
    "select": ("poll", "epoll"),
    "time": ("tzset",),
}
# Where they are used, and what happens without them.
USED = {
    ("cache_folder.py", "os.getuid"): "asked for first",
    ("cache.py", "fcntl"): "data.cache=disk is refused",
    ("cache_store.py", "fcntl"): "as above",
    ("cache_store.py", "os.O_CLOEXEC"): "as above",
    ("cache_store.py", "os.pwrite"): "as above",
    ("cache_store.py", "os.pread"): "as above",
    ("hdf5_worker.py", "resource"): "no limit of memory is set",
    ("lava_run.py", "os.killpg"): "Lava's simulator is refused",
    ("lava_run.py", "signal.SIGKILL"): "as above",
    ("environment.py", "os.sched_getaffinity"): "asked for first",
    ("process.py", "os.sysconf"): "asked for first",
    ("size.py", "os.sysconf"): "asked for first",
    ("front.py", "select.poll"): "an AttributeError that is expected",
    ("worker.py", "os.register_at_fork"): "several devices are refused",
}
TAKEN_AWAY = sorted({name for _, name in USED if name != "signal.SIGKILL"} | {"signal.SIGHUP", "signal.SIGPIPE"})
# What the package itself uses is taken away, and not what Python and other packages use on this system.
SCRIPT = f"""
import os, select, signal, sys, time
import snntrain  # which lets torchvision load
import filelock, hydra, lightning.pytorch, matplotlib.pyplot, numba, psutil, sklearn.datasets, torch
import torch.distributed.launcher.api, torch.distributed.elastic.multiprocessing.errors
for name in {TAKEN_AWAY!r}:
    module, dot, attribute = name.partition(".")
    if dot:
        delattr(sys.modules[module], attribute)
    else:
        sys.modules[module] = None  # importing it fails from here on
for name in [name for name in sys.modules if name.partition(".")[0] == "snntrain"]:
    del sys.modules[name]
from snntrain.__main__ import main
fast = "model=mlp", "model.features=8", "T=1", "neuron.backend=torch", "trainer.max_epochs=1"
codes = [main(["train", *fast]), main(["train", "data=nmnist", "T=2"]), main(["train", *fast, "trainer=ddp"])]
print(codes)
"""


@pytest.mark.slow
def test_a_net_trains_without_what_windows_lacks_and_what_needs_it_is_refused_by_key(tmp_path):
    done = run_script(SCRIPT, tmp_path)
    assert done.stdout.splitlines()[-1:] == ["[0, 2, 2]"], done.stdout + done.stderr
    refusals = [line for line in done.stderr.splitlines() if line.startswith("error: ")]
    assert "data.cache=disk shares files under locks of POSIX" in refusals[0]
    assert "trainer.devices=2 starts 2 processes" in refusals[1] and "Use trainer.devices=1." in refusals[1]


def test_lavas_simulator_is_refused_with_the_key_that_leaves_it_out(monkeypatch):
    check_system()
    monkeypatch.delattr(lava_run.os, "killpg")
    with pytest.raises(LavaError, match=r"group of processes.*callbacks\.lava\.lava_samples=0"):
        check_system()


def test_every_use_of_what_windows_lacks_is_known():
    found = set()
    for file in Path(IMPORT_FOLDER, "snntrain").rglob("*.py"):
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
                if node.attr in ABSENT.get(node.value.id, ()):
                    found.add((file.name, f"{node.value.id}.{node.attr}"))
            elif isinstance(node, (ast.Import, ast.ImportFrom)):
                names = [alias.name for alias in node.names]
                names += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
                found |= {(file.name, name) for name in names if name in MODULES}
    assert found == set(USED)
