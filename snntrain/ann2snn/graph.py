"""A net prepared for conversion: a traced copy in which every activation is a Rectifier and all else is linear."""

from typing import Any

import torch
from torch import Tensor, fx, nn
from torch.fx.passes.shape_prop import ShapeProp

from snntrain.ann2snn.activation import Rectifier, rectifiers, resolve_in_place, separate_rectifiers
from snntrain.base import state_dtype
from snntrain.graph import (
    DROPOUTS,
    MAX_POOLS,
    NetError,
    argument,
    bypass,
    call_before,
    carriers,
    check_coverage,
    constant_arguments,
    drop_hooks,
    free_path,
    fuse,
    library_name,
    module_at,
    note_place,
    operation,
    place_of,
    replace_node,
    tidy,
    trace,
    working_copy,
)

_SAMPLES = 4  # of the example, on which the copy is compared with the net
_TOLERANCE = 2e-3  # of the largest output; joining layers rounds differently


class ConversionError(NetError):
    """A net, or a part of it, that cannot be converted; the text names the node, its type and a way out."""

    owner, action = "ann2snn", "converted"


@torch.no_grad()
def prepare(ann: nn.Module, example: Tensor, fuse_norms: bool = True) -> fx.GraphModule:
    """Trace a copy of a net and bring it into the form that can be converted; the net stays as it is.

    - every use of an activation is a module Rectifier of its own, see rectifiers;
    - batch normalizations are joined with a convolution or linear layer, or are a ChannelAffine;
    - dropout is gone;
    - max pooling of an activation comes before it: the two commute, and there are fewer neurons;
    - everything else is linear. That, and that samples of a batch do not mix, is checked.

    The copy is computed on the example beside the net: it gives the same, or nothing is returned.

    Args:
        ann: a net whose forward takes one tensor [N, *] and returns one.
        example: inputs [N, *] of it; a few samples are used.
        fuse_norms: False leaves batch normalizations alone.

    Returns: a graph module in eval mode on the net's device and in its dtype, that takes [N, *].
    Raises: ConversionError naming the node, its type, and what to use instead.
    """
    with ConversionError.instead():
        return _prepared(ann, example, fuse_norms)


def _prepared(ann: nn.Module, example: Tensor, fuse_norms: bool) -> fx.GraphModule:
    net = working_copy(ann)
    dtypes = {p.dtype for p in net.parameters() if p.is_floating_point()}
    dtype = dtypes.pop() if len(dtypes) == 1 else None
    device = next((p.device for p in net.parameters()), example.device)
    x = example[:_SAMPLES].detach().to(device)
    if dtype is not None:
        net = net.to(state_dtype(dtype))  # layers are joined in full precision
        x = x.to(state_dtype(dtype)) if x.is_floating_point() else x
    constant_arguments(net)  # refuses several inputs before the net is called with one
    expected = net(x.clone())
    drop_hooks(net)
    gm = trace(net)
    _drop_identities(gm)  # first: they hand on the very tensor that an operation in place may change later
    resolve_in_place(gm)
    separate_rectifiers(gm)
    _make_pool_modules(gm)
    tidy(gm)
    check_coverage(gm)
    if fuse_norms:
        ShapeProp(gm).propagate(x.clone())
        fuse(gm)
    _pool_first(gm)
    tidy(gm)
    _check_result(gm, x, expected)
    _check_samples(gm, x)
    gm.eval()
    return gm if dtype is None else gm.to(dtype)


def _drop_identities(gm: fx.GraphModule) -> None:
    """Take out dropout, which does nothing in evaluation, and identities."""
    for node in list(gm.graph.nodes):
        is_off = "dropout" in operation(node) and argument(node, 2, "training", True) is False
        if is_off or library_name(module_at(gm, node)) in {*DROPOUTS, "Identity"}:
            note_place(gm, node, "", "removed")
            bypass(gm, node)


_POOL_ARGUMENTS = ("input", "kernel_size", "stride", "padding", "dilation", "ceil_mode", "return_indices")
_ADAPTIVE_ARGUMENTS = ("input", "output_size", "return_indices")


def _make_pool_modules(gm: fx.GraphModule) -> None:
    """Put modules in the place of functional max pooling."""
    for node in list(gm.graph.nodes):
        name = operation(node)
        kind = "".join(part.capitalize() for part in name.split("_"))[:-2] + name[-2:]
        if node.op != "call_function" or kind not in MAX_POOLS:
            continue
        names = _ADAPTIVE_ARGUMENTS if kind.startswith("Adaptive") else _POOL_ARGUMENTS
        given = dict(zip(names, node.args, strict=False)) | node.kwargs
        source = given.pop("input")
        if any(isinstance(value, fx.Node) for value in given.values()):
            remedy = f"Use Adaptive{kind.removeprefix('Adaptive')}."
            raise ConversionError(place_of(gm, node), "its window depends on the shape of the input", remedy)
        if given.get("stride") in ((), []):
            given["stride"] = None
        path = free_path(gm, node.name)
        note_place(gm, node, path)
        replace_node(gm, node, call_before(gm, node, path, getattr(nn, kind)(**given), source))


def _pool_first(gm: fx.GraphModule) -> None:
    """Rectifier → max pooling becomes max pooling → Rectifier."""
    moved = True
    while moved:
        moved = False
        for pool in list(gm.graph.nodes):
            if library_name(module_at(gm, pool)) not in MAX_POOLS:
                continue
            activation = pool.args[0]
            if not isinstance(module_at(gm, activation), Rectifier):
                continue
            others = [user.name for user in activation.users if user is not pool]
            if others:
                raise ConversionError(
                    f"{activation.target} (activation before max pooling)",
                    f"{pool.target} pools it, and {', '.join(others)} takes it as well, so that the pooling cannot be "
                    "moved before it",
                    "Give each of them an activation of its own, or pool by averages.",
                )
            pool.replace_input_with(activation, activation.args[0])
            pool.replace_all_uses_with(activation)
            activation.args = (pool,)
            pool.append(activation)
            moved = True


def _deviation(a: Tensor, b: Tensor) -> float:
    """Largest difference, in parts of the largest value."""
    if a.shape != b.shape:
        return float("inf")
    largest = float(b.abs().max()) if b.numel() else 0.0
    difference = float((a - b).abs().max()) if b.numel() else 0.0
    return difference / max(largest, 1e-12) if largest or difference else 0.0


def _check_result(gm: fx.GraphModule, x: Tensor, expected: Tensor) -> None:
    found = gm(x.clone())
    if not torch.isfinite(expected).all():
        raise ConversionError("", "the output of the net on the example is not finite")
    deviation = _deviation(found.double(), expected.double())
    if not deviation <= _TOLERANCE:
        raise ConversionError(
            "",
            f"the traced copy of {type(gm).__name__} deviates from the net by {deviation:.1%} of its largest output",
            "Hooks that change values, and operations in place on a part (a view) of a tensor, cannot be traced; write "
            "them as operations that return a new tensor.",
        )


class _Recorder(fx.Interpreter):
    """Keeps the output of every node."""

    def __init__(self, gm: fx.GraphModule) -> None:
        super().__init__(gm, garbage_collect_values=False)
        self.values: dict[fx.Node, Any] = {}

    def run_node(self, n: fx.Node) -> Any:
        self.values[n] = super().run_node(n)
        return self.values[n]


def _check_channels(gm: fx.GraphModule, values: dict[fx.Node, Any]) -> None:
    for node, value in values.items():
        if node.op == "call_module" and node.target in rectifiers(gm) and value.dim() < 2:
            reason = f"its output {list(value.shape)} is one number per sample, without a dimension of channels"
            raise ConversionError(f"{node.target} (activation)", reason, "Squeeze or index after it instead.")


def _check_samples(gm: fx.GraphModule, x: Tensor) -> None:
    """Raises: ConversionError naming the first node where the output for a sample depends on the others.

    Time is folded into the batch, so that a node which mixes samples would mix time steps.
    """
    alone, together = _Recorder(gm), _Recorder(gm)
    alone.run(x.clone())
    together.run(torch.cat([x, x.flip(0) * 0.5 if x.is_floating_point() else x.flip(0)]))
    carrying = carriers(gm.graph)
    _check_channels(gm, alone.values)
    count = x.shape[0]

    def agree(node: fx.Node) -> bool:
        one, two = alone.values[node], together.values[node]
        if not isinstance(one, Tensor) or not isinstance(two, Tensor):
            return True
        whole = one.dim() > 0 and one.shape[0] == count and two.shape[0] == 2 * count
        return whole and _deviation(two[:count].double(), one.double()) <= _TOLERANCE

    ends = [node for node in gm.graph.nodes if node in carrying and (node.op in ("call_module", "output"))]
    bad = next((node for node in ends if not agree(node)), None)
    if bad is None:
        return
    order = list(gm.graph.nodes)
    first = next(node for node in order[: order.index(bad) + 1] if node in carrying and not agree(node))
    raise ConversionError(
        place_of(gm, first),
        "its output for one sample depends on the others in the batch, or the batch is not its first dimension",
        "Keep the batch in dim 0 and apart from the other dimensions.",
    )
