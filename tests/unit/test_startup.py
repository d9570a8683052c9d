"""What a command imports: nothing heavy that it does not use."""

import subprocess
import sys

import pytest

#: What only some runs need, each of which takes a tenth of a second or more to import.
RARE = {
    "h5py": "Lava's files",
    "nir": "the exchange with other frameworks",
    "optuna": "searches",
    "pandas": "nothing of snntrain",
    "sklearn": "the regression data",
    "snntrain.ann2snn": "conversion",
    "snntrain.export": "chips",
    "snntrain.graph": "conversion, quantization, chips",
    "snntrain.lab.search": "searches",
    "snntrain.quantize": "quantization",
    "tensorboard": "its logger",
    "tonic": "recordings of events",
    "torch.distributed.elastic.agent.server": "several devices",
    "wandb": "its logger",
}
LATER = {"jinja2": "the report", "numba": "kernels, which the first forward loads"}


def loaded_after(script: str, names: set[str]) -> set[str]:
    """Those of the modules that are loaded once the script has run, in a process of its own."""
    script = f"import sys\n{script}\nprint('loaded', *({names} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return set(done.stdout.splitlines()[-1].split()[1:])


@pytest.mark.parametrize("arguments", [["--help"], ["train", "--help"], ["eval", "--help"], ["train", "seeed=3"]])
def test_help_and_what_is_refused_at_once_load_no_library(arguments):
    script = f"""
from snntrain.__main__ import main
try:
    main({arguments})
except SystemExit:
    pass
"""
    assert loaded_after(script, {"torch", "lightning", "matplotlib", "numba", *RARE, *LATER}) == set()


@pytest.mark.slow
def test_a_run_imports_what_it_needs_and_leaves_the_rest_to_those_that_need_it():
    """Up to the first batch of digits, but for what the kernels load."""
    assert loaded_after("import snntrain.run.run", {*RARE, *LATER}) == set()
    script = """
from snntrain.config import compose
from snntrain.config.check import check
from snntrain.run.build import build_data, build_task
settings = check(compose(["neuron.backend=torch"]))
assert len(build_data(settings).splits["train"]) == 1294
build_task(settings).configure_optimizers()
"""
    assert loaded_after(script, {*RARE, *LATER}) == set()


@pytest.mark.slow
def test_fit_end_callbacks_are_found_by_name_though_nothing_has_imported_them():
    script = """
from snntrain import callback, registry
assert not any(name.startswith("snntrain.export") for name in sys.modules)
assert registry.get("callback", "Finite") is callback.Finite and not hasattr(callback, "Nothing")
assert not any(name.startswith("snntrain.export") for name in sys.modules)
assert {"AnnToSnn", "LavaExport", "NirExport", "QuantizationAware", "Finite"} <= set(registry.names("callback"))
assert all(hasattr(callback, name) for name in callback.__all__)
assert callback.NirExport is callback.fit_end.NirExport is registry.get("callback", "NirExport")
"""
    assert loaded_after(script, {"snntrain.export"}) == {"snntrain.export"}
