"""Importing snntrain: cheap, repeatable, and torchvision works afterwards whichever build is installed."""

import json
import re
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest
import yaml

import snntrain

ROOT = Path(__file__).resolve().parents[2]


def output_of(script: str) -> list[str]:
    """Lines that a fresh Python process prints."""
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", textwrap.dedent(script)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


@pytest.mark.slow
def test_torchvision_works_after_snntrain_and_an_attempt_without_it_that_failed():
    lines = output_of("""
        try:
            import torchvision
        except RuntimeError as error:
            assert "torchvision::nms" in str(error)
        import snntrain, torchvision
        import torch
        from torchvision import datasets, models
        from torchvision.transforms import v2

        augment = v2.Compose([v2.RandomCrop(8, padding=2), v2.ToDtype(torch.float32, scale=True)])
        print(list(augment(torch.zeros(3, 8, 8, dtype=torch.uint8)).shape))
        print(list(models.resnet18(num_classes=2).eval()(torch.zeros(1, 3, 32, 32)).shape))
        print(len(datasets.FakeData(3)), datasets.MNIST.__name__)
        print(all(hasattr(torch.ops.torchvision, name) for name in ("nms", "qnms")))
    """)
    assert lines == ["[3, 8, 8]", "[1, 2]", "3 MNIST", "True"]


@pytest.fixture(scope="module")
def declared():
    """What is declared, and how many libraries are tried, in four situations one after the other."""
    lines = output_of("""
        import importlib.util, json, torch

        schemas, tried = [], []
        library, find_spec = torch.library.Library, importlib.util.find_spec

        class Library(library):
            def define(self, schema, *arguments, **more):
                schemas.append(schema)
                return super().define(schema, *arguments, **more)

        def report(situation):
            names = [schema.split("(")[0] for schema in schemas]
            print(json.dumps([situation, names, sorted({path.name[:2] for path in tried})]))
            schemas.clear(), tried.clear()

        def load(path):
            tried.append(path)

        def fail_to_load(path):
            tried.append(path)
            raise OSError("libcudart.so.13: cannot open shared object file")

        torch.library.Library, torch.ops.load_library = Library, load
        importlib.util.find_spec = lambda name, *more: None if name == "torchvision" else find_spec(name, *more)
        from snntrain.torchvision_operators import declare_missing_operators
        declare_missing_operators()
        report("absent")

        importlib.util.find_spec = find_spec
        declare_missing_operators()
        report("loads")

        torch.ops.load_library = fail_to_load
        declare_missing_operators()
        report("does not load")

        assert hasattr(torch.ops.torchvision, "nms") and hasattr(torch.ops.torchvision, "qnms")
        declare_missing_operators()
        report("operators exist")
    """)
    return {situation: (names, tried) for situation, names, tried in map(json.loads, lines)}


@pytest.mark.parametrize(
    "situation, names, tried",
    [
        ("absent", [], []),
        ("loads", [], ["_C"]),
        ("does not load", ["nms", "qnms"], ["_C"]),
        ("operators exist", [], []),
    ],
)
def test_operators_are_declared_only_where_torchvisions_own_library_does_not_load(declared, situation, names, tried):
    assert declared[situation] == (names, tried)


def test_importing_snntrain_is_cheap_and_can_be_repeated():
    lines = output_of("""
        import importlib, sys
        import snntrain, snntrain as again
        heavy = {"lightning", "hydra", "omegaconf", "torchvision", "matplotlib", "sklearn", "numba", "cupy"}
        print(sorted(heavy & {name.split(".")[0] for name in sys.modules}))
        importlib.reload(snntrain)
        del sys.modules["snntrain"]
        import snntrain as third
        import gc
        gc.collect()
        import torchvision
        print(third is again, third.__version__ == again.__version__)
    """)
    assert lines == ["[]", "False True"]


def test_the_citation_and_the_changelog_are_those_of_the_version():
    """pyproject.toml takes the version from here; tests/runs/test_installed.py sees it in the built package."""
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    changes = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    released, date = re.search(r"^## (\d\S*) — (\S+)$", changes, re.MULTILINE).groups()
    assert (snntrain.__version__, date) == (released, str(citation["date-released"]))
    assert citation["version"] == released
