"""What the allocator's settings do to page faults, and the peak of memory, in processes of their own."""

import subprocess
import sys

import pytest

FAULTS = """
import resource, sys, torch
from snntrain.run.memory import keep_freed_memory
if sys.argv[1] == "keep":
    assert keep_freed_memory()
torch.set_num_threads(1)
for _ in range(20):
    torch.ones(16 * 2**20)  # 64 MiB, above what glibc serves from its heap by itself
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(10):
    torch.ones(16 * 2**20)
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


@pytest.mark.slow
@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="the settings are glibc's")
def test_large_tensors_are_served_from_memory_that_was_freed():
    faults = {
        case: int(
            subprocess.run([sys.executable, "-c", FAULTS, case], capture_output=True, text=True, check=True).stdout
        )
        for case in ("default", "keep")
    }
    assert faults["default"] > 1000 and faults["keep"] < faults["default"] / 10


PEAKS = """
import torch
from snntrain.run.memory import peak_memory, restart_peaks
restart_peaks()
before = peak_memory()["resident"]
large = torch.ones(64 * 2**20)  # 256 MiB
held = peak_memory()["resident"]
del large
assert peak_memory()["resident"] >= held - 2**20  # a peak stays, but for what the kernel counts late
restart_peaks()
print(held - before, held - peak_memory()["resident"])
"""


@pytest.mark.slow
@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="other systems do not say what is resident")
def test_the_peak_of_memory_holds_a_large_tensor_until_it_is_restarted():
    done = subprocess.run([sys.executable, "-c", PEAKS], capture_output=True, text=True, check=True)
    grown, fallen = map(int, done.stdout.split())
    assert 256 * 2**20 <= grown < 300 * 2**20 and fallen > 200 * 2**20
