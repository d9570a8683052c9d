"""Models composed from lists of layers."""

from snntrain.model.builder import LayerError, Net, build, inferred_arguments

__all__ = ["LayerError", "Net", "build", "inferred_arguments"]
