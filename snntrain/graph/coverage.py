"""Which operations are linear, so that the mean of their outputs over time is their output for the mean input.

Everything else is an error that names the node.
"""

from torch import fx, nn

from snntrain.graph.error import NetError
from snntrain.graph.node import argument, kind_of, library_name, operation, place_of

LINEAR_LAYERS = {
    *(
        f"{kind}{rank}d"
        for kind in ("Conv", "ConvTranspose", "BatchNorm", "AvgPool", "AdaptiveAvgPool")
        for rank in (1, 2, 3)
    ),
    *(
        f"{kind}Pad{rank}d"
        for kind in ("Zero", "Constant", "Reflection", "Replication", "Circular")
        for rank in (1, 2, 3)
    ),
    *("Linear", "Flatten", "Unflatten", "Identity", "SyncBatchNorm", "VotingLayer", "ChannelAffine"),
    *("Upsample", "UpsamplingNearest2d", "UpsamplingBilinear2d", "PixelShuffle", "PixelUnshuffle", "ChannelShuffle"),
    *("Unfold", "Fold"),
}
MAX_POOLS = {f"{kind}{rank}d" for kind in ("MaxPool", "AdaptiveMaxPool") for rank in (1, 2, 3)}
DROPOUTS = {"Dropout", "Dropout1d", "Dropout2d", "Dropout3d", "AlphaDropout", "FeatureAlphaDropout"}

#: Operations that are linear in all tensors together.
_SUMS = {"add", "sub", "rsub", "cat", "concat", "concatenate", "stack", "hstack", "vstack"}
#: Linear in each of their tensors, if the others are constants.
_PRODUCTS = {"mul", "multiply", "matmul", "mm", "bmm", "einsum", "linear", "bilinear"} | {
    f"{name}{rank}d" for name in ("conv", "conv_transpose") for rank in (1, 2, 3)
}
#: Linear in their first tensor.
_LINEAR = {
    *("neg", "div", "divide", "truediv", "true_divide", "mean", "sum", "batch_norm", "pad", "interpolate", "upsample"),
    *("flatten", "unflatten", "reshape", "view", "view_as", "reshape_as"),
    *("permute", "transpose", "swapaxes", "movedim"),
    *("t", "squeeze", "unsqueeze", "contiguous", "clone", "detach", "chunk", "split", "tensor_split", "unbind"),
    *("getitem", "select", "narrow", "roll", "flip", "expand", "expand_as", "repeat", "repeat_interleave", "tile"),
    *("pixel_shuffle", "pixel_unshuffle", "channel_shuffle", "unfold", "fold", "type_as", "float", "double", "to"),
    *(f"{name}{rank}d" for name in ("avg_pool", "adaptive_avg_pool") for rank in (1, 2, 3)),
}
#: Questions about a tensor that do not look at its values.
_QUESTIONS = {"size", "dim", "ndimension", "numel", "new_zeros", "new_ones", "new_full", "zeros_like", "ones_like"}
_ATTRIBUTES = {"shape", "ndim", "dtype", "device"}

_ACTIVATIONS = (
    *("gelu", "silu", "mish", "sigmoid", "tanh", "elu", "selu", "celu", "softplus", "leakyrelu", "prelu", "rrelu"),
    *("hardswish", "logsigmoid", "threshold", "clamp", "clip", "hardtanh", "shrink", "glu", "softsign", "abs"),
)
_OF_TWO = (
    "it combines two activations in a way that is not linear, and the mean of a product is not the product of means",
    "Join the paths by addition or concatenation.",
)
_NORMS = ("layernorm", "groupnorm", "instancenorm", "rmsnorm", "localresponsenorm", "normalize")


def carriers(graph: fx.Graph) -> set[fx.Node]:
    """The nodes whose value depends on the values, not only on the shape, of the input."""
    carrying: set[fx.Node] = set()
    for node in graph.nodes:
        name = operation(node)
        asks = name in _QUESTIONS or (name == "getattr" and node.args[1] in _ATTRIBUTES)
        if node.op == "placeholder" or (not asks and any(source in carrying for source in node.all_input_nodes)):
            carrying.add(node)
    return carrying


def check_coverage(gm: fx.GraphModule) -> None:
    """Raises: NetError naming the first node that is neither linear, a Rectifier nor max pooling."""
    carrying = carriers(gm.graph)
    for node in gm.graph.nodes:
        if node in carrying and node.op != "placeholder":
            problem = _problem(gm, node, carrying)
            if problem is not None:
                place = f"output ({_output_kind(node)})" if node.op == "output" else place_of(gm, node)
                raise NetError(place, *problem)


def _problem(gm: fx.GraphModule, node: fx.Node, carrying: set[fx.Node]) -> tuple[str, str] | None:
    """Why a node is not linear, and what to do; None if it is."""
    if node.op == "output":
        is_tensor = isinstance(node.args[0], fx.Node)
        return None if is_tensor else ("the output of forward is not one tensor", "Return one.")
    if node.op == "call_module":
        return _module_problem(gm.get_submodule(node.target))
    name = operation(node)
    tensors = [source for source in node.all_input_nodes if source in carrying]
    if name in _SUMS:
        return None
    if name in _PRODUCTS:
        twice = len(tensors) == 1 and _occurrences(node, tensors[0]) > 1
        return _OF_TWO if len(tensors) > 1 or twice else None
    if name == "batch_norm" and argument(node, 5, "training", False) is not False:
        return "it uses the statistics of each batch", "Call it with training=self.training."
    if name in _LINEAR:
        first = argument(node, 0, "input")
        return _OF_TWO if tensors != [first] or _occurrences(node, tensors[0]) > 1 else None
    return _advice(kind_of(gm, node))


def _output_kind(node: fx.Node) -> str:
    return type(node.args[0]).__name__.removeprefix("immutable_")


def _occurrences(node: fx.Node, source: fx.Node) -> int:
    count = 0

    def see(item: fx.Node) -> fx.Node:
        nonlocal count
        count += item is source
        return item

    fx.map_arg((node.args, node.kwargs), see)
    return count


def _module_problem(module: nn.Module) -> tuple[str, str] | None:
    name = library_name(module)
    if name in MAX_POOLS and getattr(module, "return_indices", False):
        return "return_indices has no meaning for spikes", "Pool without it."
    if name.startswith(("BatchNorm", "SyncBatchNorm")) and module.running_mean is None:
        return "it has no running statistics", "Construct it with track_running_stats=True and train on."
    if name in LINEAR_LAYERS or name in MAX_POOLS or name == "Rectifier":
        return None
    return _advice(type(module).__name__)


def _advice(kind: str) -> tuple[str, str]:
    """Reason and remedy for a node that is not known to be linear, by its kind."""
    key = kind.lower().replace("_", "")
    if "softmax" in key or "softmin" in key:
        reason = "it is not linear, so its mean over the steps is not that of the mean"
        remedy = "Take it out of the net: the order of the classes is that of its inputs, and losses take logits."
    elif any(word in key for word in _ACTIVATIONS):
        reason = "the rate of a spiking neuron is a rectified linear function of its input"
        remedy = "Train the net with ReLU (or ReLU6, Hardtanh(0, a), clamp(0, a)) in its place."
    elif any(word in key for word in _NORMS):
        reason = "its statistics would be those of the spikes of one step"
        remedy = "Train the net with BatchNorm in its place."
    elif key.endswith("node") or key.startswith("psn"):
        reason = "it spikes already"
        remedy = "Build the ANN twin of the net, with neuron=relu."
    elif any(word in key for word in ("attention", "lstm", "gru", "rnn", "transformer")):
        reason = "it multiplies activations with each other"
        remedy = "Build the net from convolutions, linear layers, ReLU and pooling."
    elif "dropout" in key:
        reason = "it drops inputs in evaluation too"
        remedy = "Call it with training=self.training, or use the module Dropout."
    elif "max" in key:
        reason = "this form of a maximum is not known"
        remedy = "Use MaxPool1d to 3d or AdaptiveMaxPool1d to 3d, or an average pooling."
    else:
        reason = "it is not known to be linear in its input"
        remedy = "Build the net from convolutions, linear layers, BatchNorm, ReLU, pooling, addition and concatenation."
    return reason, remedy
