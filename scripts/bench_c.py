"""What integer nets in C need: flash and RAM, and the time of one sample beside dense nets in torch and onnxruntime.

python scripts/bench_c.py                              sizes and latencies of csnn, csnn16 (16 channels) and mlp
python scripts/bench_c.py --rates 1,10 --rounds 3      at two firing rates, in percent
python scripts/bench_c.py --nets mlp                   of one net
"""

import argparse
import copy
import importlib.util
import platform
import statistics
import tempfile
import warnings
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import benchmark
import numpy as np
import torch
from benchmark import console
from torch import Tensor, nn

from snntrain import create_model, functional, terminal
from snntrain.export.c import CompiledNet, cortex_m4_compiler, export_c, native_compiler
from snntrain.quantize import IntegerNet, observe, prepare, preset, to_integer

SHAPE = (1, 28, 28)
NETS: dict[str, dict[str, Any]] = {
    "csnn": {"name": "csnn"},
    "csnn16": {"name": "csnn", "channels": 16, "features": 128},
    "mlp": {"name": "mlp"},
}
QUANT = {"W8V8": "int8", "W4V8": "w4v8"}
EVENT_DRIVEN = "C, event-driven"
_CALLS = 20  # samples in one measurement


def main() -> None:
    """Measure, show, write."""
    parser = benchmark.parser(__doc__, T=4, rounds=7)
    parser.add_argument("--rates", type=rates, default="0.5,1,2,5,10,20,50", help="in percent (default %(default)s)")
    parser.add_argument("--nets", type=names, default=",".join(NETS), help="(default %(default)s)")
    options = parser.parse_args()
    if native_compiler() is None:
        parser.error("there is no C compiler; set CC")
    run = benchmark.begin(options)
    x = torch.rand(8, *SHAPE, generator=torch.Generator().manual_seed(0))
    nets = {name: made(NETS[name], options.T) for name in options.nets}
    size = {name: sizes(net, x, options.T) for name, net in nets.items()}
    show_sizes(size)
    latency = {name: latencies(net, x, options) for name, net in nets.items()}
    show_latencies(latency)
    show_crossings(latency)
    benchmark.finish(options, "c", run, {"sizes": size, "latency": latency})


def rates(text: str) -> list[float]:
    """An argument that is a list of percentages."""
    values = [float(part) for part in text.split(",")]
    if not all(0 < value < 100 for value in values):
        raise argparse.ArgumentTypeError(f"must be percentages between 0 and 100, got {text!r}")
    return values


def made(settings: dict[str, Any], T: int) -> nn.Module:
    """A net with weights that are the same in every run."""
    torch.manual_seed(0)
    return create_model(**settings, sample_shape=SHAPE, num_classes=10, T=T).eval()


def names(text: str) -> list[str]:
    """An argument that is a list of nets."""
    values = text.split(",")
    if not set(values) <= set(NETS):
        raise argparse.ArgumentTypeError(f"must be of {', '.join(NETS)}, got {text!r}")
    return values


def integers_of(net: nn.Module, quant: Any, x: Tensor, T: int) -> IntegerNet:
    """The integer net with weights as they are."""
    quantized = prepare(net, quant, functional.repeat(x, T))
    observe(quantized, [functional.repeat(x, T)], 1)
    return to_integer(quantized.eval())


# --- size ------------------------------------------------------------------------------------------------------------


def sizes(net: nn.Module, x: Tensor, T: int) -> dict[str, dict[str, dict[str, int]]]:
    """Bits → chip → bytes of flash and RAM."""
    found: dict[str, dict[str, dict[str, int]]] = {}
    for bits, name in QUANT.items():
        with tempfile.TemporaryDirectory() as folder:
            exported = export_c(integers_of(net, preset(name), x, T), folder, SHAPE)
            compilers = {
                "x86-64" if native_is_x86() else "this machine": native_compiler(),
                "Cortex-M4": cortex_m4_compiler(),
            }
            found[bits] = {
                chip: compiler.sizes(Path(folder), Path(folder) / "net.o") or {}
                for chip, compiler in compilers.items()
                if compiler is not None
            }
            found[bits]["buffers"] = {"ram_bytes": exported.program.sizes["buffers"]}
    return found


def native_is_x86() -> bool:
    """Whether this machine has the processor that the table is headed with."""
    return platform.machine() in ("x86_64", "AMD64")


def show_sizes(size: dict[str, Any]) -> None:
    """The table of flash and RAM."""
    table = terminal.table("net", "bits", "chip", "flash, bytes", "RAM, bytes", texts=3)
    for name, by_bits in size.items():
        for bits, by_chip in by_bits.items():
            for chip, found in by_chip.items():
                if "flash_bytes" in found:
                    table.add_row(name, bits, chip, f"{found['flash_bytes']:,}", f"{found['ram_bytes']:,}")
    console.print(table)


# --- time ------------------------------------------------------------------------------------------------------------


def latencies(net: nn.Module, x: Tensor, options: argparse.Namespace) -> dict[str, Any]:
    """Milliseconds of one sample: dense nets once, the event-driven C net at each firing rate."""
    integers = integers_of(net, {**preset("int8"), "v": {"bits": 16}}, x, options.T)
    calls: dict[str, Callable[[], Any]] = {
        "torch, spiking, float32": partial(spiking_float, net, x[:1], options.T),
        **dense_twins(net, x),
    }
    reached: dict[str, float] = {}
    for rate in options.rates:
        at_rate, reached[f"{rate:g} %"] = firing_at(integers, rate / 100, x[:1], options.T)
        calls[f"{EVENT_DRIVEN}, {rate:g} %"] = compiled(at_rate, x[:1], options.T, event_driven=True)
    calls["C, dense"] = compiled(at_rate, x[:1], options.T, event_driven=False)  # the same work at every rate
    with torch.inference_mode():
        timed = {name: partial(seconds_of_one, call) for name, call in calls.items()}
        seconds = benchmark.interleaved(timed, options.rounds)
    return {
        "rates": reached,
        "milliseconds": {name: 1e3 * statistics.median(values) for name, values in seconds.items()},
    }


def compiled(net: IntegerNet, x: Tensor, T: int, *, event_driven: bool) -> Callable[[], Any]:
    """The C net in this process."""
    return partial(CompiledNet(net, SHAPE, event_driven=event_driven), functional.repeat(x, T))


def seconds_of_one(call: Callable[[], Any]) -> float:
    """Seconds of the fastest of several calls: others may have been interrupted."""
    return min(benchmark.seconds_of(call) for _ in range(_CALLS))


def spiking_float(net: nn.Module, x: Tensor, T: int) -> Tensor:
    """The net as it was trained."""
    functional.reset_net(net)
    return net(functional.repeat(x, T))


def firing_at(net: IntegerNet, rate: float, x: Tensor, T: int) -> tuple[IntegerNet, float]:
    """A copy whose thresholds make each layer of neurons fire at about a rate, and the mean rate that is reached."""
    copied = IntegerNet(net.operations, {name: array.copy() for name, array in net.arrays.items()})
    x_seq = functional.repeat(x, T)
    for operation in copied.operations:
        if operation["op"] != "neuron":
            continue
        low, high = 1, 2 ** (operation["bits"] - 1) - 1
        while low < high:  # a higher threshold, fewer spikes
            copied.arrays[f"{operation['name']}.threshold"] = np.full(1, (low + high) // 2, np.int32)
            tried = IntegerNet(copied.operations, copied.arrays).run(x_seq, record=True)
            fired = float(tried.spikes[operation["name"]].float().mean())
            low, high = ((low + high) // 2 + 1, high) if fired > rate else (low, (low + high) // 2)
        copied.arrays[f"{operation['name']}.threshold"] = np.full(1, low, np.int32)
    final = IntegerNet(copied.operations, copied.arrays)
    found = [float(spikes.float().mean()) for spikes in final.run(x_seq, record=True).spikes.values()]
    return final, statistics.mean(found)


def dense_twins(net: nn.Module, x: Tensor) -> dict[str, Callable[[], Any]]:
    """The ANN of the same layers with ReLU: in float32, and in 8 bits in torch and, if it is there, in onnxruntime."""
    twin = ann_twin(net)
    calls: dict[str, Callable[[], Any]] = {
        "torch, ANN, float32": partial(twin, x[:1]),
        "torch, ANN, int8": partial(in_torch_int8(twin, x), x[:1]),
    }
    if all(importlib.util.find_spec(name) for name in ("onnxruntime", "onnx", "onnxscript")):
        calls["onnxruntime, ANN, int8"] = in_onnxruntime(twin, x)
    else:
        console.print("onnxruntime, onnx and onnxscript are not installed: their 8-bit ANN is left out")
    return calls


def ann_twin(net: nn.Module) -> nn.Sequential:
    """Convolutions, linear layers and pooling of a net with ReLU between them, one step, in plain torch."""
    plain = {"Conv2d": nn.Conv2d, "Linear": nn.Linear, "BatchNorm2d": nn.BatchNorm2d, "MaxPool2d": nn.MaxPool2d}
    layers: list[nn.Module] = []
    for module in net.layers:
        name = type(module).__name__
        if isinstance(module, nn.Flatten):
            layers.append(nn.Flatten())
        elif isinstance(module, tuple(plain.values())):
            kind = next(kind for kind in plain.values() if isinstance(module, kind))
            layers.append(plain_copy(module, kind))
        elif hasattr(module, "v_threshold"):
            layers.append(nn.ReLU())
        else:
            raise TypeError(f"bench_c: {name} has no twin here.")
    return nn.Sequential(*layers).eval()


def plain_copy(module: nn.Module, kind: type[nn.Module]) -> nn.Module:
    """The torch layer that ours is a subclass of, with its weights."""
    arguments = {
        nn.Conv2d: ("in_channels", "out_channels", "kernel_size", "stride", "padding", "dilation", "groups"),
        nn.Linear: ("in_features", "out_features"),
        nn.BatchNorm2d: ("num_features",),
        nn.MaxPool2d: ("kernel_size", "stride", "padding"),
    }[kind]
    more = {"bias": module.bias is not None} if kind in (nn.Conv2d, nn.Linear) else {}
    made = kind(**{name: getattr(module, name) for name in arguments}, **more)
    made.load_state_dict(copy.deepcopy(module.state_dict()))
    return made


def in_torch_int8(twin: nn.Module, x: Tensor) -> nn.Module:
    """The twin quantized by torch to 8 bits, calibrated on x; its layers fused with normalization and ReLU."""
    from torch.ao.quantization import get_default_qconfig_mapping
    from torch.ao.quantization.quantize_fx import convert_fx, prepare_fx

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch announces another package for it
        prepared = prepare_fx(copy.deepcopy(twin), get_default_qconfig_mapping("x86"), (x[:1],))
        prepared(x)
        return convert_fx(prepared)


def in_onnxruntime(twin: nn.Module, x: Tensor) -> Callable[[], Any]:
    """The twin quantized by onnxruntime to 8 bits, calibrated on x."""
    import onnxruntime
    from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_static

    class Samples(CalibrationDataReader):
        def __init__(self) -> None:
            self.left = iter([{"x": sample.unsqueeze(0).numpy()} for sample in x])

        def get_next(self) -> dict[str, np.ndarray] | None:
            return next(self.left, None)

    with tempfile.TemporaryDirectory() as folder:
        plain, small = Path(folder) / "ann.onnx", Path(folder) / "int8.onnx"
        torch.onnx.export(twin, (x[:1],), plain, input_names=["x"], dynamo=True)
        quantize_static(plain, small, Samples(), quant_format=QuantFormat.QDQ, weight_type=QuantType.QInt8)
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = torch.get_num_threads()
        session = onnxruntime.InferenceSession(small.read_bytes(), options, providers=["CPUExecutionProvider"])
    return partial(session.run, None, {"x": x[:1].numpy()})


def show_latencies(latency: dict[str, Any]) -> None:
    """The table of times; beside those of C, the firing rate that was asked for and the one that was reached."""
    table = terminal.table("one sample", *latency, texts=1)
    for name in next(iter(latency.values()))["milliseconds"]:
        rate = name.rpartition(", ")[2]
        cells = [f"{found['milliseconds'][name]:.3f} ms" for found in latency.values()]
        if name.startswith(EVENT_DRIVEN):
            at = (f" at {100 * found['rates'][rate]:.1f} %" for found in latency.values())
            cells = [cell + more for cell, more in zip(cells, at, strict=True)]
        table.add_row(name, *cells)
    console.print(table)


def show_crossings(latency: dict[str, Any]) -> None:
    """Up to which firing rate the event-driven C net is faster than each of the others."""
    table = terminal.table("event-driven C is faster than", *latency, texts=1)
    others = [name for name in next(iter(latency.values()))["milliseconds"] if not name.startswith(EVENT_DRIVEN)]
    for other in others:
        table.add_row(other, *(crossing(found, other) for found in latency.values()))
    console.print(table)


def crossing(found: dict[str, Any], other: str) -> str:
    """Where the times cross, between two rates that were measured; rates are those that were reached."""
    limit = found["milliseconds"][other]
    times = sorted((rate, found["milliseconds"][f"{EVENT_DRIVEN}, {name}"]) for name, rate in found["rates"].items())
    slower = next((place for place, (_, time) in enumerate(times) if time > limit), None)
    if slower is None:
        return f"up to {100 * times[-1][0]:.1f} % at least"
    if slower == 0:
        return f"not at {100 * times[0][0]:.1f} %"
    (low, before), (high, after) = times[slower - 1 : slower + 1]
    return f"up to {100 * (low + (high - low) * (limit - before) / (after - before)):.1f} %"


if __name__ == "__main__":
    main()
