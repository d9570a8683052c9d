"""The metrics of NeuroBench, counted while a net is tested."""

import contextlib
from collections.abc import Iterator
from typing import Any

import lightning.pytorch as pl
import torch
from torch import Tensor, nn

from snntrain.arguments import integer
from snntrain.callback.connections import Connections, is_counted
from snntrain.callback.membranes import Membranes, has_membrane, operations_of_update
from snntrain.callback.synaptic_operations import SynapticOperations
from snntrain.hooks import watching
from snntrain.layer.padding import padding
from snntrain.neuron import BaseNode
from snntrain.task.chunk import is_repeated

METRICS = {
    "footprint": "bytes of the parameters and buffers",
    "connection_sparsity": "share of the weights that are 0",
    "activation_sparsity": "share of (neuron, step, sample) without output",
    "effective_macs": "products of two numbers that are not 0, per sample, in steps in which values enter a layer",
    "effective_acs": "additions of weights that are not 0, per sample, in steps in which only 0 and ±1 enter a layer",
    "dense": "both, if no number were 0",
    "membrane_updates": "changes of membrane potentials, per sample",
    "neuron_ops": "operations of the neurons in these updates, per sample",
    "dense_neuron_ops": "the same, if every neuron were updated in every step",
}
SOURCE = "Yik et al., The NeuroBench framework, Nature Communications 16, 2025; as neurobench 2.3 counts"


class NeuroBench(pl.Callback):
    """Log the metrics of NeuroBench's algorithm track: what its own harness finds for the net, run step by step.

    Logs `test/neurobench/<name>` for each name of METRICS that is defined for the net, as means over the samples. What
    NeuroBench does not define is left out, and `result["undefined"]` says why: products outside of Linear and
    convolutions (attention, recurrent cells, blocks that quantize their weights), neurons without a potential, and
    neurons for which its table has no number of operations. A batch whose values all happen to be 0, 1 or −1 counts as
    spikes, as it does there, so that MACs and ACs may depend on the size of the batch. Of padded sequences only real
    steps count, which NeuroBench does not know.

    Args:
        operations: the callback in front of this one, which knows the products of each layer.
        membranes_every: potentials are watched in every n-th batch, the first one included, ≥ 1: to keep them slows
            neurons down.

    Source: Yik et al., Nature Communications 16, 2025.
    """

    def __init__(self, operations: SynapticOperations, membranes_every: int = 128) -> None:
        self.operations = operations
        self.membranes_every = integer(self, "membranes_every", membranes_every, at_least=1)
        self.result: dict[str, Any] | None = None  # of the last test that saw a sample; plain containers
        self._while_testing = contextlib.ExitStack()
        self._in_this_batch = contextlib.ExitStack()

    def on_test_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self._stop()
        net = pl_module.net
        self.result, self._samples, self._watched = None, 0, 0
        self._counts = {path: Connections(module) for path, module in net.named_modules() if is_counted(module)}
        self.operations.count_too(self._counts)
        self._activations = dict(_activations(net))
        self._fired: dict[str, Tensor | float] = dict.fromkeys(self._activations, 0.0)
        self._seen: dict[str, int] = dict.fromkeys(self._activations, 0)
        self._sparse: Tensor | float = 0.0  # Σ over batches: share without output · samples
        see = watching(self._activations, self._see, at_once=True, count=self._add)
        self._while_testing.enter_context(see)
        self._membranes = {path: Membranes(m) for path, m in self._activations.items() if has_membrane(m)}

    def on_test_batch_start(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, batch: Any, batch_idx: int, *more: Any
    ) -> None:
        self._samples += len(batch[1])
        self._before = sum(self._fired.values()), sum(self._seen.values())
        if batch_idx % self.membranes_every == 0:
            self._watched += len(batch[1])
            for membranes in self._membranes.values():
                membranes.watch(self._in_this_batch)

    def on_test_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: Any, batch: Any, *more: Any
    ) -> None:
        self._in_this_batch.close()
        seen = sum(self._seen.values()) - self._before[1]
        if seen:
            fired = sum(self._fired.values()) - self._before[0]
            self._sparse = (1 - fired / seen) * len(batch[1]) + self._sparse

    def on_test_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self._stop()
        if not self._samples:
            return
        self.result = self._summary(trainer, pl_module)
        for name in METRICS:
            if self.result[name] is not None:
                pl_module.log(f"test/neurobench/{name}", float(self.result[name]))

    def on_exception(self, trainer: pl.Trainer, pl_module: pl.LightningModule, exception: BaseException) -> None:
        self._stop()

    def _stop(self) -> None:
        self._in_this_batch.close()
        self._while_testing.close()

    @torch.no_grad()
    def _see(self, path: str, layer: nn.Module, output: Tensor | list[Tensor]) -> None:
        output = output[0] if isinstance(output, list) else output  # OTTT neurons: [spikes, trace]
        now = padding()
        output = output if now is None else output[now.of((self, path), output)]
        self._add(path, torch.count_nonzero(output), output.numel())

    def _add(self, path: str, fired: Tensor, seen: int) -> None:
        if not is_repeated():  # else it was counted the first time
            wide = torch.float32 if fired.device.type == "mps" else torch.float64
            self._fired[path] = fired.to(wide) + self._fired[path]
            self._seen[path] += seen

    def _summary(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> dict[str, Any]:
        net, counts, membranes = pl_module.net, self._counts.values(), self._membranes
        charges = {path: operations_of_update(membrane.neuron) or 0 for path, membrane in membranes.items()}
        sums = [
            self._samples,
            self._watched,
            self._sparse,
            sum(count.macs for count in counts),
            sum(count.acs for count in counts),
            sum(count.dense for count in counts),
            sum(membrane.updates for membrane in membranes.values()),
            sum(membrane.updates * charges[path] for path, membrane in membranes.items()),
            sum(membrane.steps * charges[path] for path, membrane in membranes.items()),
            *self._fired.values(),
            *self._seen.values(),
        ]
        numbers = torch.tensor([float(number) for number in sums], dtype=torch.float64)
        if trainer.world_size > 1:
            numbers = trainer.strategy.reduce(numbers.to(pl_module.device), reduce_op="sum")
        samples, watched, sparse, macs, acs, dense, updates, operations, most, *by_layer = numbers.tolist()
        zeros, weights = _zeros_and_weights(net)
        fired, seen = by_layer[: len(self._fired)], by_layer[len(self._fired) :]
        layers = zip(self._activations, fired, seen, strict=True)
        found: dict[str, Any] = {
            "footprint": _footprint(net),
            "connection_sparsity": round(zeros / weights, 4) if weights else None,
            "activation_sparsity": sparse / samples if sum(seen) else 0.0,
            "effective_macs": macs / samples,
            "effective_acs": acs / samples,
            "dense": dense / samples,
            "membrane_updates": updates / watched,
            "neuron_ops": operations / watched,
            "dense_neuron_ops": most / watched,
        }
        undefined = dict(self._undefined(weights))
        return {
            **{name: None if name in undefined else value for name, value in found.items()},
            "undefined": undefined,
            "samples": int(samples),
            "membrane_samples": int(watched),
            "source": SOURCE,
            "layers": [
                {"path": path, "spikes": number / samples, "neurons": size / samples} for path, number, size in layers
            ],
        }

    def _undefined(self, weights: int) -> Iterator[tuple[str, str]]:
        """(metric, why NeuroBench does not define it for this net)."""
        if not weights:
            yield "connection_sparsity", "the net has no Linear, convolution or recurrent layer"
        others = [
            f"{row['path']} ({row['name']})"
            for row in self.operations.rows
            if row["path"] not in self._counts or not self._counts[row["path"]].calls
        ]
        if others:
            reason = f"products outside of Linear and convolutions: {_named(others)}"
            yield from ((name, reason) for name in ("effective_macs", "effective_acs", "dense"))
        spiking = {path: module for path, module in self._activations.items() if not isinstance(module, _PLAIN)}
        without = [f"{path} ({type(spiking[path]).__name__})" for path in spiking if path not in self._membranes]
        if without:
            yield "membrane_updates", f"neurons without a potential: {_named(without)}"
        uncharged = [
            f"{path} ({type(module).__name__})"
            for path, module in self._activations.items()
            if path not in self._membranes or operations_of_update(module) is None
        ]
        if uncharged or not self._activations:
            reason = f"no number of operations for {_named(uncharged)}" if uncharged else "the net has no neurons"
            yield from ((name, reason) for name in ("neuron_ops", "dense_neuron_ops"))


_PLAIN = (nn.ReLU, nn.Sigmoid)


def _named(places: list[str]) -> str:
    return ", ".join(places[:3]) + (f" and {len(places) - 3} more" if len(places) > 3 else "")


def is_activation(module: nn.Module) -> bool:
    """Whether NeuroBench takes a module for an activation: a neuron, ReLU or Sigmoid."""
    return isinstance(module, (*_PLAIN, BaseNode)) or getattr(module, "is_spiking", False) is True


def _activations(module: nn.Module, path: str = "") -> Iterator[tuple[str, nn.Module]]:
    """(path, activation) of the activations inside a module; what is inside them is a part of them."""
    for name, child in module.named_children():
        place = f"{path}.{name}" if path else name
        if is_activation(child):
            yield place, child
        else:
            yield from _activations(child, place)


def _footprint(net: nn.Module) -> int:
    """Bytes of the parameters and buffers."""
    return sum(tensor.numel() * tensor.element_size() for tensor in (*net.parameters(), *net.buffers()))


@torch.no_grad()
def _zeros_and_weights(module: nn.Module) -> tuple[int, int]:
    """(weights that are 0, weights) of the layers inside a module; of recurrent ones with their biases."""
    zeros = size = 0
    for child in module.children():
        tensors: list[Tensor] = []
        if not list(child.children()):
            if isinstance(child, (nn.RNNBase, nn.RNNCellBase)):
                tensors = list(child.parameters())
            elif isinstance(child, (nn.Linear, nn.Conv1d, nn.Conv2d, nn.Conv3d)):
                tensors = [child.weight]
        more_zeros, more = _zeros_and_weights(child)
        zeros += more_zeros + sum(int((tensor == 0).sum()) for tensor in tensors)
        size += more + sum(tensor.numel() for tensor in tensors)
    return zeros, size
