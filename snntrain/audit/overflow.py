"""Checks of the size of potentials, in floating point or in the bits of a chip."""

from collections.abc import Iterator

import torch
from torch import Tensor

from snntrain import functional
from snntrain.audit.finding import Seen, check
from snntrain.audit.subject import Subject
from snntrain.audit.survey import Survey
from snntrain.base import map_tensors
from snntrain.model.profile import first_tensor

TARGETS = {
    "float64": torch.finfo(torch.float64).max,
    "float32": torch.finfo(torch.float32).max,
    "bfloat16": torch.finfo(torch.bfloat16).max,
    "float16": torch.finfo(torch.float16).max,
    **{f"int{bits}": 2.0 ** (bits - 1) - 1 for bits in (8, 16, 24, 32)},
}
"""What potentials are to be kept in → the largest number it holds; Loihi has int24."""

_NEAR = 0.5


@check(
    "not finite",
    severity="error",
    remedy="Look for a division by 0, a potential that grows at every step, or an overflow in half precision.",
    source="github.com/fangwei123456/spikingjelly/issues/247",
)
def not_finite(survey: Survey) -> Iterator[Seen]:
    """Modules that make NaN or infinity of finite numbers."""
    for path, seen in survey.modules.items():
        if seen.gets.finite and not seen.gives.finite and seen.shape:
            yield Seen(path, "Its input is finite, and its output is not.")
            return
    if not bool(survey.y.isfinite().all()):
        yield Seen("", "The outputs of the net are not finite.")


@check(
    "near overflow",
    severity="warning",
    remedy="Scale weights and thresholds down, let the potential leak, or give it more bits.",
    source="github.com/nengo/nengo-loihi/issues/130",
)
def near_overflow(subject: Subject, survey: Survey, target: str, unit: float) -> Iterator[Seen]:
    """Potentials that come near the largest number of the bits that they are to be kept in."""
    limit = TARGETS[target]
    for path in survey.neurons:
        largest = _largest_state(subject, path, survey) / unit
        if largest > limit * _NEAR:
            yield Seen(
                path,
                f"A potential or current reaches {largest:.4g} of the {limit:.4g} that {target} holds.",
                severity="error" if largest > limit else None,
            )


def _largest_state(subject: Subject, path: str, survey: Survey) -> float:
    """The largest magnitude of the states and inputs of a layer of neurons, over all steps that can be seen."""
    neuron, largest = survey.neurons[path], survey.modules[path].gets.largest
    inputs = survey.modules[path].inputs
    wanted = tuple(getattr(neuron, "state_names", ())) if hasattr(neuron, "stored_states") else ()
    before = neuron.stored_states if wanted else ()
    sizes: list[float] = [largest]
    if wanted:
        neuron.stored_states = wanted
    try:
        with torch.no_grad():
            neuron.eval()
            functional.reset_net(neuron)
            for x in inputs:
                first_tensor(neuron(x))
                sizes += _sizes(neuron)
    except Exception:  # it takes its states as arguments
        pass
    finally:
        functional.reset_net(neuron)
        if wanted:
            neuron.stored_states = before
    return max(sizes)


def _sizes(neuron: torch.nn.Module) -> list[float]:
    """The largest magnitude of each tensor that is a state of the module: a plain attribute or a registered state."""
    found: list[float] = []

    def measure(tensor: Tensor) -> Tensor:
        if tensor.is_floating_point() and tensor.numel():
            found.append(float(tensor.detach().abs().nan_to_num(nan=0.0, posinf=torch.inf).max()))
        return tensor

    for name, value in vars(neuron).items():
        if name not in ("_parameters", "_buffers", "_modules"):
            map_tensors(measure, value)
    return found
