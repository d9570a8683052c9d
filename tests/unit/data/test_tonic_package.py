"""Without tonic, which has another license, pictures train and event data sets are refused with the remedy."""

import ast
import sys
from pathlib import Path

import numpy as np
import pytest
from event_files import stream
from programs import run_script

from snntrain.data import CIFAR10DVS, NMNIST, SHD, EventFolder, Framing
from snntrain.data.event_augmentation import EventAugmentation
from snntrain.data.events import read_events
from snntrain.installation import IMPORT_FOLDER
from snntrain.lab.programs import fetch_data

EVENTS = stream(seed=3, n=60)
FACTS = {"num_classes": 10, "sample_shape": [1, 34, 34]}
# torchmetrics imports librosa, too, where it is installed.
ONLY_FOR_EVENTS = ("tonic", "expelliarmus", "importRosbag")
REMEDY = r"needs the package tonic, which is not installed: pip install 'snntrain\[events\]'"
SCRIPT = f"""
import sys
sys.modules.update(dict.fromkeys({ONLY_FOR_EVENTS!r}))  # importing one of them fails from here on
from snntrain.__main__ import main
fast = "model=mlp", "model.features=8", "T=1", "neuron.backend=torch", "trainer.max_epochs=1"
print(main(["train", *fast]), main(["train", "data=nmnist", "T=2", "trainer.max_epochs=1"]))
"""


@pytest.fixture
def no_tonic(monkeypatch):
    for name in [name for name in sys.modules if name.split(".")[0] == "tonic"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "tonic", None)


@pytest.mark.slow
def test_pictures_train_without_it_and_event_data_sets_are_refused_with_the_remedy(tmp_path):
    done = run_script(SCRIPT, tmp_path)
    assert done.stdout.splitlines()[-1:] == ["0 2"], done.stdout + done.stderr
    assert "data: NMNIST needs the package tonic" in done.stderr and "'snntrain[events]'" in done.stderr


def test_no_file_names_it_in_an_import_but_the_one_that_refuses():
    folder = Path(IMPORT_FOLDER, "snntrain")
    found = set()
    for file in folder.rglob("*.py"):
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            names += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            found |= {(file.name, name) for name in names if name.split(".")[0] in ONLY_FOR_EVENTS}
    assert not found


@pytest.mark.parametrize(("kind", "sensor"), [(NMNIST, [34, 34]), (CIFAR10DVS, [128, 128]), (SHD, 700)])
def test_a_data_set_that_tonic_reads_is_refused_before_any_file_is_looked_at(no_tonic, tmp_path, kind, sensor):
    with pytest.raises(ImportError, match=f"data: {kind.__name__} {REMEDY}"):
        kind(root=str(tmp_path / "missing"), framing=Framing(2, sensor, polarity="merge"), **FACTS)


def test_recordings_of_ones_own_need_it_only_in_the_format_bin(no_tonic, tmp_path):
    for split in ("train", "test"):
        (tmp_path / "bin" / split / "a").mkdir(parents=True)
        (tmp_path / "bin" / split / "a" / "1.bin").write_bytes(bytes(5))
    with pytest.raises(ImportError, match=rf"data: reading \.bin {REMEDY}"):
        EventFolder(root=str(tmp_path / "bin"), framing=Framing(2, [34, 34], polarity="merge"), **FACTS).load()
    with pytest.raises(ImportError, match=REMEDY):
        read_events(tmp_path / "bin/train/a/1.bin")
    np.save(tmp_path / "a.npy", EVENTS)
    assert np.array_equal(read_events(tmp_path / "a.npy"), EVENTS)


def test_an_augmentation_of_events_names_itself(no_tonic):
    with pytest.raises(ImportError, match=rf"data\.augment: RandomFlipLR {REMEDY}"):
        EventAugmentation(["flip_left_right"]).events([34, 34])


def test_the_list_of_data_sets_says_which_need_it(no_tonic, capsys):
    assert fetch_data.main([]) == 0
    printed = capsys.readouterr().out
    shown = {line.split()[0]: line for line in printed.splitlines() if line.split()}
    assert "needs tonic" in shown["NMNIST"] and "needs tonic" not in shown["CIFAR10"]
    assert "pip install 'snntrain[events]'" in printed
