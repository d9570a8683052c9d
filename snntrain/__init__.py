"""snntrain: a config-driven training framework for spiking neural networks.

Its packages stand on floors and may import what is below them, see CONTRIBUTING.md.
"""

import importlib
import importlib.util

from snntrain.cache_folder import give_libraries_a_home
from snntrain.torchvision_operators import declare_before_import

__version__ = "0.1.0"

_ZOO = ("create_model", "list_models")


def __getattr__(name: str) -> object:
    """Packages such as snntrain.neuron and what reads configs, on first use: torch and Hydra take seconds to import."""
    if name in _ZOO:
        return getattr(importlib.import_module("snntrain.config.zoo"), name)
    if not name.startswith("_") and importlib.util.find_spec(f"{__name__}.{name}") is not None:
        return importlib.import_module(f"{__name__}.{name}")
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


declare_before_import()
give_libraries_a_home()
