"""A net as a program of torch.export, in which a layer with a state is one scan over time."""

import contextlib
import warnings
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor, nn

from snntrain.export.error import OnnxExportError
from snntrain.export.onnx.over_time import OverTime, can_scan
from snntrain.functional import copy_net, set_backend, set_step_mode
from snntrain.graph.error import first_line
from snntrain.hooks import carries_state, keeps_children_in_s, step_mode_of, watching
from snntrain.layer.fuse import set_fuse
from snntrain.quantize import QuantizedNet


@torch.no_grad()
def export_program(net: nn.Module, example: Tensor) -> torch.export.ExportedProgram:
    """A net as torch.export.export gives it, for AOTInductor, ExecuTorch and others that read such programs.

    Each layer of neurons is a `scan` over time, and so is a recurrent container; what carries a state that is no
    tensor, such as a queue of spikes, is unrolled. torch.export.export(net, (example,)) itself works, too: it unrolls
    all of them.

    Args:
        net: [T, N, *] → [T, N, K] in step mode 'm'; it stays as it is. The program computes what it does in eval mode,
            from reset states.
        example: an input [T, N, *]; T is that of the program, N is free.

    Raises: OnnxExportError naming a module that cannot be traced.
    """
    return program_of(traceable(net), example)


class Traceable(nn.Module):
    """A copy of a net in which layers with a state are OverTime, and can be watched.

    Args:
        net: the copy.

    Attributes:
        is_watched: whether the outputs of these layers, path → [T, N, *], follow those of the net.
    """

    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.net = net
        self.is_watched = False

    def forward(self, x_seq: Tensor) -> tuple[Tensor, dict[str, Tensor]] | Tensor:
        if not self.is_watched:
            return self.net(x_seq)
        seen: dict[str, Tensor] = {}
        layers = {path: module for path, module in self.net.named_modules() if isinstance(module, OverTime)}
        with watching(layers, lambda path, layer, output: seen.update({path: output})):
            return self.net(x_seq), seen


def traceable(net: nn.Module) -> Traceable:
    """A copy of a net in the form that is traced."""
    if isinstance(net, QuantizedNet):
        raise OnnxExportError(
            "the net (QuantizedNet)",
            "it computes what integers will, and a program of floats would not be those integers",
            "Use callbacks=[default,onnx] without qat, or c or lava after qat.",
        )
    copied = copy_net(net).eval()
    set_step_mode(copied, "m")
    set_backend(copied, "torch")
    set_fuse(copied, "off")
    for parameter in copied.parameters():
        parameter.requires_grad_(False)
    return Traceable(_scanned(copied))


def _scanned(module: nn.Module) -> nn.Module:
    if carries_state(module) and step_mode_of(module) == "m" and can_scan(module):
        return OverTime(module)
    if not keeps_children_in_s(module):
        for name, child in list(module.named_children()):
            setattr(module, name, _scanned(child))
    return module


def program_of(net: Traceable, example: Tensor) -> torch.export.ExportedProgram:
    """The program of a net in its traceable form."""
    if example.dim() < 3 or 0 in example.shape:
        raise OnnxExportError("", f"example must be an input [T, N, *], got shape {list(example.shape)}")
    if example.shape[1] == 1:  # torch.export would take a batch of 1 for a constant
        example = example.repeat(1, 2, *[1] * (example.dim() - 2))
    free = ({1: torch.export.Dim.DYNAMIC},)
    with _place_of_failure(net.net) as place, warnings.catch_warnings():
        # The states of the copy, which is thrown away.
        warnings.filterwarnings("ignore", message=".*was assigned during export.*")
        warnings.filterwarnings("ignore", message=".*isinstance\\(treespec, LeafSpec\\).*")
        try:
            return torch.export.export(net, (example,), dynamic_shapes=free)
        except Exception as error:
            remedy = "It must be the same operations for every input: no if, for or int() on values of tensors."
            raise OnnxExportError(place(), f"torch.export cannot trace it: {first_line(error)}", remedy) from error


@contextlib.contextmanager
def _place_of_failure(net: nn.Module) -> Iterator[Callable[[], str]]:
    """Yields a function that names the innermost module that was being called when an error rose."""
    under_way: list[str] = []

    def leave(*_: Any) -> None:
        under_way.pop()

    handles = []
    for path, module in net.named_modules():
        place = f"{path} ({type(module).__name__})" if path else f"the net ({type(module).__name__})"
        handles.append(module.register_forward_pre_hook(lambda *_, place=place: under_way.append(place)))
        handles.append(module.register_forward_hook(leave))
    try:
        yield lambda: under_way[-1] if under_way else f"the net ({type(net).__name__})"
    finally:
        for handle in handles:
            handle.remove()
