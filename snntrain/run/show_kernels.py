"""show=kernels: print what runs fused on each device of this machine, by what, or why not, without training."""

import contextlib
from typing import Any

import torch
from rich.table import Table
from rich.text import Text
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from snntrain import functional, kernel, registry, terminal
from snntrain.config.error import refusing
from snntrain.error import one_line
from snntrain.layer import AvgPool2d, MaxPool2d
from snntrain.model.builder import probe_steps
from snntrain.model.profile import step_modes
from snntrain.neuron import BaseNode
from snntrain.run.build import build_net, net_shape
from snntrain.terminal import ModulePath, bold, print_line

console = terminal.terminal()

FUSED = "fused"
_DTYPES = {"16": torch.float16, "bf16": torch.bfloat16, "64": torch.float64}


def show_kernels(settings: dict[str, Any]) -> None:
    """Print the devices of this machine and how the neurons of the model run on each kind of them; no data are read."""
    print_line(console, bold("devices"))
    console.print(_devices(kernel.status()))
    kinds = ["cpu", *(["cuda"] if torch.cuda.is_available() else [])]
    found = {kind: fusion(settings, kind) for kind in kinds}
    precision = settings["trainer"].get("precision", "32-true")
    print_line(console, bold(f"\n{settings['name']}", f"   T = {settings['T']}, trainer.precision={precision}"))
    table = terminal.table("path", "layer", *(f"on {kind}" for kind in kinds))
    for path, (name, _) in found["cpu"].items():
        table.add_row(ModulePath(path), Text(name), *(Text(found[kind][path][1]) for kind in kinds))
    if found["cpu"]:
        console.print(table)
    else:
        print_line(console, "The model has no neurons with kernels: nothing to fuse.")


def _devices(found: list[kernel.DeviceStatus]) -> Table:
    table = terminal.table("device", "", "kernels")
    for one in found:
        table.add_row(one.device, Text(one.hardware), Text(one.by or f"none: {one.reason}"))
    return table


def fusion(settings: dict[str, Any], device: str) -> dict[str, tuple[str, str]]:
    """Run zeros through the model of a config; path of each layer with kernels → (class, how it ran)."""
    net, T = build_net(settings).to(device).eval(), settings["T"]
    kinds = (BaseNode, *registry.table("neuron").values())
    listed = {
        path: module
        for path, module in net.named_modules()
        if (isinstance(module, kinds) and not isinstance(module, nn.ReLU)) or hasattr(module, "reason_against_fusion")
    }
    precision = str(settings["trainer"].get("precision", "32-true"))
    computed = _DTYPES.get(precision.partition("-")[0], torch.float32)
    is_mixed = precision.endswith("-mixed") or precision in ("16", "bf16")  # as Lightning reads them
    dtype = torch.float32 if is_mixed else computed
    leading = (probe_steps(net, T), 2) if step_modes(net)[0] == "m" else (2,)
    x = torch.zeros(*leading, *net_shape(settings), dtype=dtype, device=device)
    autocast = torch.autocast(device, computed) if is_mixed else contextlib.nullcontext()
    functional.reset_net(net)
    try:
        with refusing("model"), torch.no_grad(), autocast, kernel.watching_fusion() as calls:
            net.to(dtype)(x)
    except RuntimeError as error:  # torch lacks an operator for this dtype and device
        return {path: (type(module).__name__, f"cannot run: {one_line(error)}") for path, module in listed.items()}
    listed = {path: module for path, module in net.named_modules() if module in listed.values() or module in calls}
    return {path: (type(module).__name__, _how(module, calls)) for path, module in listed.items()}


def _how(module: nn.Module, calls: dict[Any, str | None]) -> str:
    if isinstance(module, (MaxPool2d, AvgPool2d)):
        return "in the kernel of the neuron before it"
    if isinstance(module, _BatchNorm):
        return "in the kernel of the neuron after it"
    if module in calls:
        reason = calls[module]
        if reason is not None:
            return f"loop over torch's operators: {reason}"
        return FUSED if getattr(module, "step_mode", "m") == "m" else f"{FUSED}, step by step"
    if getattr(module, "backend", None) == "torch":
        return "loop over torch's operators: its backend is torch"
    return "torch's operators: there are no kernels for it"
