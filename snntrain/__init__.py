"""snntrain: a config-driven training framework for spiking neural networks.

Its packages stand on floors and may import what is below them, see CONTRIBUTING.md.
"""

import importlib
import importlib.util

from snntrain.cache_folder import give_libraries_a_home
from snntrain.torchvision_operators import declare_before_import

__version__ = "0.2.0"

# What a user calls → the module that holds it.
_HOMES = {
    "RunFolder": "snntrain.run.folder",
    "Section": "snntrain.run.report.section",
    "UsageError": "snntrain.error",
    "create_model": "snntrain.run.zoo",
    "list_models": "snntrain.run.zoo",
    "load": "snntrain.run.trained",
    "load_converted": "snntrain.run.converted",
    "sweep": "snntrain.lab.sweep.from_python",
    "train": "snntrain.run.trained",
}


def __getattr__(name: str) -> object:
    """Packages such as snntrain.neuron and what reads configs, on first use: torch and Hydra take seconds to import."""
    if name in _HOMES:
        return getattr(importlib.import_module(_HOMES[name]), name)
    if not name.startswith("_") and importlib.util.find_spec(f"{__name__}.{name}") is not None:
        return importlib.import_module(f"{__name__}.{name}")
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


declare_before_import()
give_libraries_a_home()
