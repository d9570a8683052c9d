"""Write what qualia-plugin-snn 2.6.0 computes to an .npz file; started by compare_qualia.py.

It runs in a process of its own, which imports SpikingJelly 0.0.0.0.14 and nothing of snntrain. The cases are here,
so that both sides run the same ones.
"""

import argparse
import importlib.util
import itertools
import json
import logging
import sys
import types
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

BITS = (2, 4, 8, 16)
ROUNDTYPES = ("nearest", "floor", "ceil")
FORCED = (None, 0, 4, 7)
SCALES = (0.3, 1.0, 0.6, 2.5, 1.7, 6.0)  # of the successive inputs: a range grows with a larger one, and never shrinks
COUNT = 64

Case = dict[str, Any]
Record = dict[str, np.ndarray]


# --- cases -----------------------------------------------------------------------------------------------------------


def cases() -> list[Case]:
    """All cases: the class, its mapping quant_params and its other arguments."""
    return [*quantizer_cases(), *neuron_cases()]


def quantizer_cases() -> Iterator[Case]:
    """Bits × rounding × forced fractional bits, and the other settings of a quantizer."""
    for bits, roundtype in itertools.product(BITS, ROUNDTYPES):
        common = {"bits": bits, "roundtype": roundtype}
        for force_q in FORCED:
            yield _quantizer("fixed point", **common, quantype="fxp", force_q=force_q)
        yield _quantizer("free step", **common, quantype="fake")
        yield _quantizer("free step", **common, quantype="fake", is_asymmetric=True)
        yield _quantizer("learned step", **common, quantype="fxp", LSQ=True)
    for bits, setting, quantype in itertools.product((4, 8), ("MSE_simulation", "MSE_analysis"), ("fxp", "fake")):
        yield _quantizer("least error", bits=bits, range_setting=setting, quantype=quantype)
    yield _quantizer("disabled", bits=8, quantype="fxp", quant_enable=False)


def neuron_cases() -> Iterator[Case]:
    """Bits × rounding × forced fractional bits × reset, of each neuron."""
    for bits, roundtype, force_q, v_reset in itertools.product(BITS, ROUNDTYPES, FORCED, (0.0, None, -0.25)):
        common = {"bits": bits, "roundtype": roundtype, "quantype": "fxp", "force_q": force_q}
        yield _neuron("IF", common, v_reset=v_reset, v_threshold=0.8, detach_reset=bits == 8)
        for tau, decay_input in itertools.product((2.0, 3.0), (True, False)):
            yield _neuron("LIF", common, v_reset=v_reset, v_threshold=0.8, tau=tau, decay_input=decay_input)
    for bits, roundtype, v_reset in itertools.product(BITS, ROUNDTYPES, (0.0, None)):
        common = {"bits": bits, "roundtype": roundtype, "quantype": "fake", "input": {"quant_enable": False}}
        yield _neuron("LIF", common, v_reset=v_reset, tau=3.0)
        yield _neuron("IF", {**common, "v": {"bits": 8}}, v_reset=v_reset)
    for bits, roundtype, force_q in itertools.product(BITS, ROUNDTYPES, FORCED):
        yield _neuron("ATIF", {"bits": bits, "roundtype": roundtype, "quantype": "fxp", "force_q": force_q}, alpha=1.5)


def _quantizer(group: str, **quant_params: Any) -> Case:
    return {"group": f"quantizer, {group}", "what": "Quantizer", "quant_params": quant_params}


def _neuron(what: str, quant_params: dict[str, Any], **arguments: Any) -> Case:
    return {"group": what, "what": what, "quant_params": quant_params, "arguments": arguments}


def inputs() -> tuple[Tensor, Tensor]:
    """A sequence [6, 64] of inputs, a third of them on a grid that causes rounding ties, and weights of its outputs."""
    random = np.random.default_rng(0)
    x = random.standard_normal((len(SCALES), COUNT)) * np.array(SCALES)[:, None]
    x[:, ::3] = np.round(x[:, ::3] * 32) / 32
    x[:, :4] = [0.0, 1.0, -1.0, 0.5]
    return torch.tensor(x, dtype=torch.float32), torch.tensor(random.standard_normal(x.shape), dtype=torch.float32)


# --- running a case of either library --------------------------------------------------------------------------------


def record_quantizer(quantizer: nn.Module, learned_step: str) -> Record:
    """Outputs, gradients and the range of a quantizer that trains on five tensors and then evaluates a larger one."""
    x_seq, weights = inputs()
    second = x_seq.flip(1)[:, :5] * 1.25  # the "bias", which widens the range
    record: dict[str, list[Tensor]] = {"output": [], "gradient": [], "fractional bits": []}
    for t, x in enumerate(x_seq):
        quantizer.train(t < len(x_seq) - 1)
        leaf = x.clone().requires_grad_()
        outputs = quantizer(leaf) if t % 2 else torch.cat(quantizer(leaf, bias_tensor=second[t]))
        (outputs[:COUNT] * weights[t]).sum().backward()
        record["output"].append(outputs[:COUNT].detach())
        record["gradient"].append(leaf.grad)
        bits = quantizer.fractional_bits
        record["fractional bits"].append(torch.tensor(-99 if bits is None else bits))
    step = getattr(quantizer, learned_step, None)
    if isinstance(step, nn.Parameter):
        record["gradient of the step"] = [step.grad.reshape(())]
    return {name: torch.stack(values).numpy() for name, values in record.items()}


def record_neuron(node: Any) -> Record:
    """Outputs, potentials, hyper-parameters and gradients of a neuron in training, then in evaluation.

    Args:
        node: has step(x) → output, v, hyperparameters() → list of numbers, reset(), train(), and θ if it is learned.
    """
    record: Record = {}
    x_seq, weights = inputs()
    for training in (True, False):
        node.train(training)
        node.reset()
        leaf = x_seq.clone().requires_grad_(training)
        outputs, potentials, numbers = [], [], []
        for x in leaf:
            outputs.append(node.step(x))
            potentials.append(node.v.detach())
            numbers.append(torch.tensor(node.hyperparameters(), dtype=torch.float64))
        mode = "training" if training else "evaluation"
        record[f"output, {mode}"] = torch.stack(outputs).detach().numpy()
        record[f"potential, {mode}"] = torch.stack(potentials).numpy()
        record[f"hyper-parameters, {mode}"] = torch.stack(numbers).numpy()
        if training:
            (torch.stack(outputs) * weights).sum().backward()
            record["gradient"] = leaf.grad.numpy()
            if node.theta is not None:
                record["gradient of the threshold"] = node.theta.grad.numpy()
    return record


# --- the reference ---------------------------------------------------------------------------------------------------


class ReferenceNeuron:
    """One of Qualia's neurons with the interface that record_neuron expects."""

    def __init__(self, case: Case) -> None:
        from qualia_plugin_snn.learningmodel.pytorch.layers import quantized_SNN_layers as layers

        class QuantizedATIF(layers.QuantizedATIF):
            """Does not crash: the original reads the threshold under another name."""

            vp_th = property(lambda self: self.v_threshold)

        classes = {"IF": layers.QuantizedIFNode, "LIF": layers.QuantizedLIFNode, "ATIF": QuantizedATIF}
        self.node = classes[case["what"]](case["quant_params"], **case["arguments"])
        self.theta = None
        if case["what"] == "ATIF":
            self.theta = self.node.v_threshold
            nn.init.constant_(self.theta, 0.9)
        self.step = self.node.single_step_forward
        self.train = self.node.train

    @property
    def v(self) -> Tensor:
        return self.node.v

    def reset(self) -> None:
        self.node.reset()
        if self.theta is not None:
            self.node.v = torch.zeros(1)  # its own reset keeps the graph of the last batch

    def hyperparameters(self) -> list[float]:
        if self.theta is not None:
            return []
        values = [self.node.v_threshold, getattr(self.node, "tau", None), self.node.v_reset]
        return [float(value) for value in values if value is not None]


def run_reference(case: Case) -> Record | None:
    """The numbers that the reference computes; None if it crashes because a LIF neuron's 1/tau rounds to 0."""
    from qualia_core.learningmodel.pytorch.layers.Quantizer import Quantizer

    if case["what"] == "Quantizer":
        return record_quantizer(Quantizer(**case["quant_params"], tensor_type="w_type"), "LSQscale")
    try:
        return record_neuron(ReferenceNeuron(case))
    except ZeroDivisionError:
        return None


def skip_package_inits(folder: Path) -> None:
    """Make modules of Qualia importable without its packages' __init__, which need Lightning and torchvision."""
    found = importlib.util.find_spec("spikingjelly")
    if found is None or folder.resolve() not in Path(found.origin).parents:
        sys.exit(f"qualia_reference: SpikingJelly must come from {folder}; run it through compare_qualia.py.")
    for package in ("qualia_core", "qualia_plugin_snn"):
        path = [package]
        for part in ("", "learningmodel", "pytorch", "layers"):
            path += [part] if part else []
            module = types.ModuleType(".".join(path))
            module.__path__ = [str(folder.joinpath(*path))]
            sys.modules[module.__name__] = module


def main() -> None:
    """Run all cases and write their numbers."""
    parser = argparse.ArgumentParser(description="Run qualia-plugin-snn on the cases of compare_qualia.py.")
    parser.add_argument("folder", type=Path, help="where the reference is")
    parser.add_argument("output", type=Path, help=".npz file to write")
    chosen = parser.parse_args()
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    logging.disable(logging.WARNING)  # the reference warns whenever its fractional bits are read
    skip_package_inits(chosen.folder)
    records = [run_reference(case) for case in cases()]
    arrays = {
        f"{number}/{name}": array for number, record in enumerate(records) if record for name, array in record.items()
    }
    np.savez(chosen.output, cases=np.array(json.dumps(cases())), **arrays)


if __name__ == "__main__":
    main()
