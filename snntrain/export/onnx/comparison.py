"""A net beside its ONNX file: which spikes differ, and whether rounding explains them."""

import contextlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from snntrain.export.onnx.file import ExportedOnnx
from snntrain.functional import copy_net, set_backend, set_step_mode
from snntrain.hooks import spiking_layers, watching
from snntrain.layer.fuse import set_fuse
from snntrain.neuron.base_node import BaseNode

TOLERANCE = 1e-5


@dataclass
class OnnxComparison:
    """What of an ONNX file differs from the net.

    Two libraries sum in different orders, so that a potential within `tolerance` of the threshold may fall to its other
    side. Such a spike, and what comes after it, is rounding; any other difference is a mismatch.

    Attributes:
        y_seq: outputs of the file, [T, N, K].
        expected: outputs of the net.
        compared: spikes.
        differing: those that are not equal.
        mismatches: those of them that neither lie at the threshold nor behind such a spike: of an earlier layer of the
            same sample at the same step or before, or of the same neuron before.
        max_error: largest difference of the outputs that lie behind no differing spike, relative to the largest output
            if that is above 1.
    """

    y_seq: Tensor
    expected: Tensor
    compared: int
    differing: int
    mismatches: int
    max_error: float


@torch.no_grad()
def compare_onnx(exported: ExportedOnnx, net: nn.Module, x_seq: Tensor, tolerance: float = TOLERANCE) -> OnnxComparison:
    """Run a net and its ONNX file on the same input, and compare all spikes and outputs.

    Args:
        exported: what export_onnx gave for the net.
        net: it stays as it is.
        x_seq: [T, N, *].
        tolerance: how far from the threshold, in units of the potential, rounding may explain a spike.
    """
    x_seq = x_seq.detach().float().cpu()
    reference = copy_net(net).cpu().eval()
    set_step_mode(reference, "m")
    set_backend(reference, "torch")
    set_fuse(reference, "off")
    layers = {path: reference.get_submodule(path) for path in exported.layers}
    expected: dict[str, Tensor] = {}
    neurons = spiking_layers(reference)
    with watching(layers, lambda path, layer, y: expected.update({path: y})), _margins(neurons, tolerance) as margins:
        y_seq = reference(x_seq)
    found = exported.layer_outputs(x_seq)
    behind = torch.zeros(x_seq.shape[:2], dtype=torch.bool)
    compared = differing = mismatches = 0
    for path, layer in layers.items():
        own = [name for name in neurons if name == path or name.startswith(f"{path}.") or not path]
        if not own:
            continue  # potentials or other numbers: what they lead to is compared
        differs = (expected[path] != found[path]).flatten(2)
        at_threshold = margins(own[-1], differs)
        before = differs if isinstance(layer, BaseNode) else differs.any(2, keepdim=True)
        substeps = len(differs) // len(behind)
        explained = at_threshold | _earlier(before) | behind.repeat_interleave(substeps, 0)[..., None]
        compared += differs.numel()
        differing += int(differs.sum())
        mismatches += int((differs & ~explained).sum())
        behind |= differs.any(2).unflatten(0, (-1, substeps)).any(1).cummax(0).values
    outputs = exported.outputs(x_seq)
    error = (outputs - y_seq).abs()[~behind]
    scale = max(1.0, float(y_seq.abs().max()))
    worst = float(error.max()) / scale if error.numel() else 0.0
    return OnnxComparison(outputs, y_seq, compared, differing, mismatches, worst)


def _earlier(differs: Tensor) -> Tensor:
    """Whether one of [T, N, F] was set at a step before."""
    before = torch.zeros_like(differs)
    before[1:] = differs.cummax(0).values[:-1]
    return before


@contextlib.contextmanager
def _margins(neurons: dict[str, nn.Module], tolerance: float) -> Iterator[Callable[[str, Tensor], Tensor]]:
    """Yields (path, like [T, N, F]) → which spikes of a neuron `tolerance` more or less of potential would change.

    None of a neuron whose spikes are not those of a surrogate module, called once a step.
    """
    seen: dict[str, list[Tensor]] = {path: [] for path in neurons}
    running: list[str] = []
    handles = []

    def note(surrogate: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        if running:
            (x,) = inputs
            seen[running[-1]].append(surrogate.forward(x - tolerance) != surrogate.forward(x + tolerance))

    for path, neuron in neurons.items():
        handles.append(neuron.register_forward_pre_hook(lambda *_, path=path: running.append(path)))
        handles.append(neuron.register_forward_hook(lambda *_: running.clear()))
    surrogates = {getattr(neuron, "surrogate_function", None) for neuron in neurons.values()}
    handles += [each.register_forward_pre_hook(note) for each in surrogates if isinstance(each, nn.Module)]

    def margin(path: str, like: Tensor) -> Tensor:
        steps = [each.flatten(1) for each in seen[path]]
        fits = len(steps) == len(like) and all(step.shape == like.shape[1:] for step in steps)
        return torch.stack(steps) if fits else torch.zeros_like(like)

    try:
        yield margin
    finally:
        for handle in handles:
            handle.remove()
