"""Models composed from lists of layers; those of conf/model/ are built by snntrain.create_model.

It may import the net floor: plain torch, no conf/.
"""

from snntrain.model.builder import Net, build, inferred_arguments
from snntrain.model.layer_list import LayerError

__all__ = ["LayerError", "Net", "build", "inferred_arguments"]
