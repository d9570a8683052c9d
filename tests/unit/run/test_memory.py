"""What the allocator's settings do to page faults, in processes of their own."""

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
