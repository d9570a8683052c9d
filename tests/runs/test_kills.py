"""SIGKILL at fifty random moments: no result is lost, and a resumed run ends bit for bit as if nothing had happened."""

import subprocess
import sys

import pytest
from programs import ROOT


@pytest.mark.slow
def test_fifty_kills_lose_nothing_and_change_no_bit(tmp_path):
    command = [
        sys.executable,
        str(ROOT / "scripts/kill_campaign.py"),
        "--kills",
        "50",
        "--keep",
        str(tmp_path / "kills"),
    ]
    done = subprocess.run(command, capture_output=True, text=True, timeout=3600)
    assert done.returncode == 0, done.stdout + done.stderr
    assert '"kills": 50, "lost or different": 0' in done.stdout
