"""train.py and eval.py as subprocesses, small runs, and what they leave."""

import json
import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
# A run that takes a second of training.
SMALL = ("model=mlp", "model.features=32", "T=2", "trainer.max_epochs=2", "data.batch_size=128")


def last_of_each(arguments: tuple[str, ...]) -> list[str]:
    """Of overrides of one key the last, so that a test can change a line that it shares with others."""
    kept = {word.partition("=")[0] if "=" in word else (number, word): word for number, word in enumerate(arguments)}
    return list(kept.values())


def start(program: str, *arguments: str, cwd: Path) -> subprocess.Popen:
    """Start train.py or eval.py; output is collected as text. A key may be given twice: the last one counts."""
    environment = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONUNBUFFERED": "1", "COLUMNS": "160"}
    command = [sys.executable, str(ROOT / program), *last_of_each(arguments)]
    return subprocess.Popen(
        command, cwd=cwd, env=environment, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )


def complete(program: str, *arguments: str, cwd: Path, timeout: float = 240) -> subprocess.CompletedProcess:
    """Run train.py or eval.py to its end."""
    process = start(program, *arguments, cwd=cwd)
    try:
        out, err = process.communicate(timeout=timeout)
    finally:
        process.kill()
    return subprocess.CompletedProcess(process.args, process.returncode, out, err)


def results(folder: Path) -> dict:
    """results.json of a run folder."""
    return json.loads((folder / "results.json").read_text(encoding="utf-8"))
