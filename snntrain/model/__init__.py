"""Models composed from lists of layers."""

from snntrain.model.builder import Net, build, inferred_arguments
from snntrain.model.layer_list import LayerError

__all__ = ["LayerError", "Net", "build", "create_model", "inferred_arguments", "list_models"]


def __getattr__(name: str) -> object:
    if name in ("create_model", "list_models"):  # they read configs, which takes Hydra's import
        from snntrain.model import zoo

        return getattr(zoo, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
