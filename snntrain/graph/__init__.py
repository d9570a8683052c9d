"""A net as a graph of its operations: traced, its batch normalizations fused, its nodes named, its coverage checked.

Conversion, quantization and export begin with it; it may import the net floor, and none of the packages that use it.
"""

from snntrain.graph.coverage import DROPOUTS, LINEAR_LAYERS, MAX_POOLS, carriers, check_coverage
from snntrain.graph.error import NetError, first_line
from snntrain.graph.fusion import ChannelAffine, fuse, per_channel
from snntrain.graph.node import (
    adaptive_window,
    argument,
    bypass,
    call_after,
    call_before,
    free_path,
    kind_of,
    library_name,
    module_at,
    modules_of,
    note_place,
    operation,
    place_of,
    replace_node,
    shape_of,
    title_of,
)
from snntrain.graph.step import input_of, linear_form_at, step_graph
from snntrain.graph.trace import constant_arguments, drop_hooks, replace_modules, tidy, trace, working_copy

__all__ = [
    "DROPOUTS",
    "LINEAR_LAYERS",
    "MAX_POOLS",
    "ChannelAffine",
    "NetError",
    "adaptive_window",
    "argument",
    "bypass",
    "call_after",
    "call_before",
    "carriers",
    "check_coverage",
    "constant_arguments",
    "drop_hooks",
    "first_line",
    "free_path",
    "fuse",
    "input_of",
    "kind_of",
    "library_name",
    "linear_form_at",
    "module_at",
    "modules_of",
    "note_place",
    "operation",
    "per_channel",
    "place_of",
    "replace_modules",
    "replace_node",
    "shape_of",
    "step_graph",
    "tidy",
    "title_of",
    "trace",
    "working_copy",
]
