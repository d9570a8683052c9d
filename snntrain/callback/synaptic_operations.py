"""How much the layers of weights compute, and an estimate of the energy that takes."""

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import lightning.pytorch as pl
import torch
from torch import Tensor, nn

from snntrain import functional
from snntrain.callback.connections import Connections
from snntrain.callback.spike_statistics import spiking_layers
from snntrain.hooks import carries_state
from snntrain.kernel.spike_count import spike_total
from snntrain.layer.padding import padding
from snntrain.model.energy import PJ_PER_MAC, PJ_PER_SOP, arithmetic
from snntrain.model.operands import whole_multiples
from snntrain.model.profile import first_tensor, profile

SOURCE = "Horowitz, Computing's energy problem (and what we can do about it), ISSCC 2014"


class SynapticOperations(pl.Callback):
    """Count what the layers of weights compute in the test, per sample over all time steps.

    What enters a module decides. If it was whole numbers throughout (spikes, counts of spikes, their sums and maxima),
    or averages of such over windows of one size, then each product with weights accumulates: a spike adds one weight to
    each neuron that it reaches, a synaptic operation (SOP), and a count of n as much as n spikes:
    SOPs = Σ_t MACs per step · mean |x[t]|, with an average of n values taken n times, as the spikes that went into it.
    Anything else is multiplied and accumulated (MAC) in each step that has to be computed; a step that the encoder
    repeats is computed once by layers without a state. A net without spiking neurons does MACs only, and so do products
    of activations with each other (attention). Of a module that does more with its input than to apply weights it is an
    estimate.

    Logs, as means over the samples:
        test/sops, test/macs: synaptic operations and multiply-accumulates.
        test/energy_uJ: 4.6 pJ · MACs + 0.9 pJ · SOPs.
        test/energy_ann_uJ: 4.6 pJ · MACs of one step of the same layers, neurons left out: what an ANN would take.

    The energy is an estimate of arithmetic alone, for comparisons: neither memory nor neurons nor any hardware in
    particular are in it. A compiled net is tested without compilation.

    Args:
        sample_shape: shape of one sample at one step, e.g. (1, 28, 28).

    Source: Horowitz, Computing's energy problem, ISSCC 2014 (energy per operation, 45 nm, 32-bit floating point);
    Rueckauer et al., Front. Neurosci. 2017 (counting operations).
    """

    def __init__(self, sample_shape: Sequence[int]) -> None:
        self.sample_shape = tuple(sample_shape)
        self.result: dict[str, Any] | None = None  # of the last test that saw a sample; plain containers
        self.rows: list[dict[str, Any]] = []  # of the last test's net: the modules that compute, see profile
        self._samples = 0
        self._counts: list[_Count] = []
        self._while_testing = contextlib.ExitStack()

    def on_test_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self._stop()
        net = pl_module.net
        modules, is_spiking = dict(net.named_modules()), bool(spiking_layers(net))
        self._T = getattr(pl_module, "T", 1)
        self._samples, self.result = 0, None
        self.rows = [row for row in profile(net, self.sample_shape, self._T) if row["macs"] and row["fan_out"]]
        self._counts = []
        for row in self.rows:
            module = modules[row["path"]]
            has_weights = row["macs"] > row["macs_of_activations"]
            self._counts.append(_Count(module, may_accumulate=is_spiking and has_weights, divisor=row["divisor"]))
            handle = module.register_forward_pre_hook(self._counts[-1].look, with_kwargs=True)
            self._while_testing.callback(handle.remove)
        # Compiled code would not call the hooks.
        self._while_testing.enter_context(torch.compiler.set_stance("force_eager"))

    def count_too(self, connections: Mapping[str, Connections]) -> None:
        """Let more be counted of what enters layers, by their paths, in the test that has just started."""
        for row, count in zip(self.rows, self._counts, strict=True):
            count.connections = connections.get(row["path"])

    def on_test_batch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule, batch: Any, *more: Any) -> None:
        self._samples += len(batch[1])

    def on_test_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self._stop()
        if not self._samples:
            return
        self.result = self._summary(trainer, pl_module.device)
        for name in ("sops", "macs", "energy_uJ", "energy_ann_uJ"):
            pl_module.log(f"test/{name}", self.result[name])

    def on_exception(self, trainer: pl.Trainer, pl_module: pl.LightningModule, exception: BaseException) -> None:
        self._stop()

    def _stop(self) -> None:
        self._while_testing.close()

    def _summary(self, trainer: pl.Trainer, device: torch.device) -> dict[str, Any]:
        layers, counted = [], list(_fetch(self._counts))
        if trainer.world_size > 1:
            counted, self._samples = _of_all_processes(counted, self._samples, trainer, device)
        for row, (accumulates, size, values) in zip(self.rows, counted, strict=True):
            of_activations = row["macs_of_activations"] / row["macs"] if accumulates else 1.0
            operations = {
                "sops": row["fan_out"] * (1 - of_activations) * size / self._samples if accumulates else 0.0,
                "macs": row["fan_out"] * of_activations * values / self._samples,
                "spikes": size / self._samples if accumulates else 0.0,  # that entered
            }
            layers.append({"path": row["path"], **operations})
        sops, macs = (sum(layer[kind] for layer in layers) for kind in ("sops", "macs"))
        macs_of_ann = sum(row["macs"] for row in self.rows if not row["neuron"])
        return {
            "sops": sops,
            "macs": macs,
            "energy_uJ": arithmetic(macs, sops),
            "energy_ann_uJ": arithmetic(macs_of_ann, 0.0),
            "pj_per_mac": PJ_PER_MAC,
            "pj_per_sop": PJ_PER_SOP,
            "source": SOURCE,
            "T": self._T,
            "samples": self._samples,
            "layers": layers,
        }


class _Count:
    """What one module was given, added up on its device; see Operands.divisor.

    Attributes:
        connections: counts the same input for NeuroBench, if somebody asked for that.
    """

    def __init__(self, module: nn.Module, may_accumulate: bool, divisor: int) -> None:
        self.may_accumulate, self.divisor = may_accumulate, divisor
        self.is_stateless = not any(map(carries_state, module.modules()))
        self.connections: Connections | None = None
        self.values = 0  # how many numbers were computed with
        self.sums: Tensor | float = 0.0  # Σ of whole numbers, and how many inputs held a number that is not whole

    @torch.no_grad()
    def look(self, module: nn.Module, inputs: tuple[Any, ...], named: dict[str, Any]) -> None:
        x = first_tensor((inputs, named))
        if x is None or not x.numel():
            return
        step = functional.repeated_step(x) if self.is_stateless else None
        now = padding()
        steps = 1
        if now is not None:  # only real steps are computed with
            x, repeats = x[now.of(self, x)], 1
        elif step is not None:
            x, repeats = step, x.shape[0]
        else:
            repeats, steps = 1, 1 if self.connections is None else self.connections.steps_of(x)
        self.values += x.numel()
        spikes = spike_total(x) if self.connections is None else self.connections.add(x, steps, repeats)
        if not self.may_accumulate:
            return
        wide = torch.float32 if x.device.type == "mps" else torch.float64  # exact for up to 2^53 spikes
        if spikes is not None:
            size = spikes * (repeats * self.divisor)
            self.sums = torch.stack([size, torch.zeros_like(size)]) + self.sums
        else:
            whole, broken = whole_multiples(x, self.divisor)
            self.sums = torch.stack([whole.abs().sum(dtype=wide) * repeats, broken.to(wide)]) + self.sums


def _of_all_processes(
    counted: Sequence[tuple[bool, float, int]], samples: int, trainer: pl.Trainer, device: torch.device
) -> tuple[list[tuple[bool, float, int]], int]:
    """What _fetch gives and the number of samples, added up. A layer accumulates if it did so everywhere."""
    numbers = [[float(not accumulates), size, float(values)] for accumulates, size, values in counted]
    numbers.append([0.0, 0.0, float(samples)])
    total = trainer.strategy.reduce(torch.tensor(numbers, dtype=torch.float64, device=device), reduce_op="sum")
    *layers, (_, _, all_samples) = total.tolist()
    return [(not multiplied, size, int(values)) for multiplied, size, values in layers], int(all_samples)


def _fetch(counts: Sequence[_Count]) -> Iterator[tuple[bool, float, int]]:
    """(accumulates only, Σ |x|, values) of each, with one transfer from the device."""
    sums = [count.sums for count in counts if isinstance(count.sums, Tensor)]
    fetched = iter(torch.stack(sums).tolist() if sums else [])
    for count in counts:
        size, broken = next(fetched) if isinstance(count.sums, Tensor) else (0.0, 0.0)
        yield count.may_accumulate and not broken, size, count.values
