"""The firing rates of a net in training, through which gradients flow, and a loss that bounds them."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from snntrain.data.target import Target
from snntrain.hooks import spiking_layers, watching
from snntrain.layer.padding import padding
from snntrain.ranges import number, set_ranges
from snntrain.registry import register
from snntrain.task.chunk import is_repeated
from snntrain.task.suited import suits


class FiringRates:
    """Adds up what each spiking layer of a net returns, step by step or all steps at once."""

    def __init__(self) -> None:
        self._fired: dict[str, Tensor] = {}
        self._seen: dict[str, int] = {}

    @contextmanager
    def watched(self, net: nn.Module) -> Iterator[None]:
        """Watch the spiking layers of a net inside the block, in which `means` tells their rates."""
        try:
            with watching(spiking_layers(net), self._add, at_once=True):
                yield
        finally:
            self._fired, self._seen = {}, {}  # with the graph that they hold

    def means(self) -> Tensor:
        """Mean output of each layer over its neurons, samples and real steps, [layers]: its firing rate.

        Raises: ValueError if no spiking layer was called.
        """
        if not self._fired:
            raise ValueError(
                "the loss is of firing rates, but no layer of spiking neurons was called. Use a spiking neuron, or "
                "another task.loss."
            )
        return torch.stack([fired / self._seen[path] for path, fired in self._fired.items()])

    def _add(self, path: str, layer: nn.Module, output: Tensor | list[Tensor]) -> None:
        if is_repeated():
            return  # it was added up the first time
        output = output[0] if isinstance(output, list) else output  # OTTT neurons: [spikes, trace]
        now = padding()
        output = output if now is None else output[now.of((self, layer), output)]
        # A sum keeps no tensor for backward, which a chunk that is repeated there would have to make again.
        fired = output.sum(dtype=torch.promote_types(output.dtype, torch.float32))
        self._fired[path] = self._fired[path] + fired if path in self._fired else fired
        self._seen[path] = self._seen.get(path, 0) + output.numel()


@register("loss")
@suits(*Target, step_by_step=False)
def rate_regularized(
    loss: Tensor, firing_rates: Tensor, strength: float = 1.0, highest: float = 0.0, lowest: float = 0.0
) -> Tensor:
    """Another loss, plus a penalty for layers that fire too much, or too little.

    It is strength · mean over the spiking layers of max(0, r − highest)² + max(0, lowest − r)², r being the firing rate
    of the layer.

    Args:
        loss: the other loss; in a config its name, or {name: …} with its arguments.
        firing_rates: of the spiking layers, [layers].
        strength: of the penalty, ≥ 0.
        highest: rate up to which a layer costs nothing, ≥ 0.
        lowest: rate from which a layer costs nothing, ≥ 0.

    Source: after the bounds on the activity of a layer in Zenke & Vogels, Neural Computation 33(4), 2021.
    """
    excess, lack = (firing_rates - highest).relu(), (lowest - firing_rates).relu()
    return loss + strength * (excess.square() + lack.square()).mean()


set_ranges(
    rate_regularized,
    "rate_regularized: bounds in the documentation",
    strength=number(at_least=0),
    highest=number(at_least=0),
    lowest=number(at_least=0),
)
