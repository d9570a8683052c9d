"""How prepare takes sums, products and concatenations; what has no integer form is a QuantizationError."""

from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from torch import fx

from snntrain.quantize.signal import Signal

if TYPE_CHECKING:
    from snntrain.quantize.prepare import Builder


def add(builder: "Builder", node: fx.Node) -> Signal:
    """x + y: spikes and spikes, or currents, which then share a step; spikes are made a current beside one."""
    if len(node.args) != 2 or node.kwargs.get("alpha", 1) != 1 or not _known(builder, node.args):
        raise builder.error(node, "it adds something other than two outputs of layers", "Add tensors as they are.")
    node.kwargs = {}
    a, b = (builder.signals[source] for source in node.args)
    if a.is_current or b.is_current:
        return _add_currents(builder, node, [a, b])
    if not a.fits(b):
        raise builder.error(node, "its two sides count in different steps", "Put a layer and a neuron on one of them.")
    return replace(a, largest=a.largest + b.largest)


def _add_currents(builder: "Builder", node: fx.Node, signals: list[Signal]) -> Signal:
    channels = next(signal.group.root().channels for signal in signals if signal.is_current)
    for index, signal in enumerate(signals):
        if not signal.is_current:
            signals[index] = builder.make_current(node.args[index], node, channels)
    a, b = signals
    if a.divisor != b.divisor:
        raise builder.error(node, "one side of it is an average", "Average after the sum.")
    first, second = a.group.root(), b.group.root()
    if first.channels != second.channels:
        raise builder.error(node, "its two sides have different numbers of channels", "Let them be equal.")
    if first is not second:
        first.absorb(second)
    return a


def multiply(builder: "Builder", node: fx.Node) -> Signal:
    """x·y of spikes."""
    signals = [builder.signals[source] for source in node.args] if _known(builder, node.args) else []
    if len(signals) != 2 or not all(_is_plain(signal) for signal in signals):
        raise builder.error(node, "it is no product of spikes", "Multiply outputs of neurons only.")
    return replace(signals[0], largest=signals[0].largest * signals[1].largest)


def subtract(builder: "Builder", node: fx.Node) -> Signal:
    """1 − x of spikes."""
    constant, source = node.args
    signal = builder.signals[source] if _known(builder, [source]) else None
    if constant != 1 or signal is None or not _is_plain(signal) or signal.largest != 1:
        raise builder.error(node, "only 1 − spikes is known", "Subtract outputs of neurons from 1.")
    return signal


def concatenate(builder: "Builder", node: fx.Node) -> Signal:
    """Spikes beside spikes, along the channels."""
    parts = node.args[0]
    dim = node.args[1] if len(node.args) > 1 else node.kwargs.get("dim", node.kwargs.get("axis", 0))
    signals = [builder.signals[part] for part in parts] if _known(builder, parts) else []
    if dim != 1 or not signals or any(signal.is_current or signal.height is not None for signal in signals):
        raise builder.error(node, "it is no concatenation of spikes along the channels", "Concatenate after neurons.")
    if not all(signal.fits(signals[0]) for signal in signals):
        raise builder.error(node, "its parts count in different steps", "Pool after it.")
    node.args, node.kwargs = (parts,), {"dim": 2}  # sequences have their time first
    return replace(signals[0], largest=max(signal.largest for signal in signals))


def _known(builder: "Builder", sources: Any) -> bool:
    return all(isinstance(source, fx.Node) and source in builder.signals for source in sources)


def _is_plain(signal: Signal) -> bool:
    return signal.base == "spike" and signal.divisor == 1 and signal.height is None


JOINS: dict[str, Callable[["Builder", fx.Node], Signal]] = {
    "add": add,
    "mul": multiply,
    "sub": subtract,
    "rsub": subtract,
    "cat": concatenate,
    "concat": concatenate,
}
