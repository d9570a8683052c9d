"""Checks of one backward pass: which parameters it reaches, and whether surrogate gradients let it through."""

from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from snntrain import functional
from snntrain.audit.finding import Seen, check
from snntrain.audit.subject import Subject
from snntrain.audit.survey import Survey
from snntrain.error import one_line
from snntrain.hooks import step_mode_of
from snntrain.model.profile import first_tensor
from snntrain.randomness import seeded

_FLAT = 1e-4  # derivatives below it are taken for 0
_REST, _PASSING = 0.01, 0.05  # shares of derivatives that are not 0, at rest and on the samples


@dataclass
class Backward:
    """One forward in training mode and the backward of a sum of its outputs.

    Attributes:
        gradients: path of a parameter that is trained → its gradient; None: none came.
        batch_norms: path of a batch normalization → (calls in the sequence, shape of the first input).
        failure: the error of backward, if it failed.
    """

    gradients: dict[str, Tensor | None] = field(default_factory=dict)
    batch_norms: dict[str, tuple[int, torch.Size]] = field(default_factory=dict)
    failure: str = ""


def backward_of(subject: Subject) -> Backward:
    """Run a fresh copy of the net forward and backward in training mode."""
    net, made = subject.fresh().train(), Backward()
    trained = {path: parameter for path, parameter in net.named_parameters() if parameter.requires_grad}
    with ExitStack() as stack:
        for path, module in net.named_modules():
            if isinstance(module, nn.modules.batchnorm._BatchNorm):
                stack.callback(module.register_forward_pre_hook(_count(path, made)).remove)
        stack.enter_context(seeded(0, subject.x.device))
        stack.enter_context(torch.enable_grad())
        y = subject.outputs(net, subject.x)
        weights = torch.rand(y.shape, device=y.device).to(y.dtype)
        found: Sequence[Tensor | None] = [None] * len(trained)
        if y.requires_grad and trained:
            try:
                found = torch.autograd.grad((y * weights).sum(), list(trained.values()), allow_unused=True)
            except RuntimeError as error:
                made.failure = one_line(error)
    made.gradients = dict(zip(trained, found, strict=True))
    return made


def _count(path: str, made: Backward) -> Any:
    def see(module: nn.Module, inputs: tuple[Any, ...]) -> None:
        x = first_tensor(inputs)
        calls, shape = made.batch_norms.get(path, (0, None))
        made.batch_norms[path] = calls + 1, shape if shape is not None or x is None else x.shape

    return see


@check(
    "no gradient",
    severity="warning",
    remedy="Use the parameter in forward, or freeze it; between it and the outputs there must be no detach(), no "
    ".data, no comparison without a surrogate.",
    source="github.com/state-spaces/s4/issues/26",
)
def no_gradient(made: Backward) -> Iterator[Seen]:
    """Parameters that no gradient reaches, in training."""
    if made.failure:
        yield Seen("", f"backward fails: {made.failure}", severity="error")
        return
    without = [path for path, gradient in made.gradients.items() if gradient is None]
    if without and len(without) == len(made.gradients):
        yield Seen("", f"No gradient reaches any of {len(without)} parameters.", severity="error")
        return
    of_module: dict[str, list[str]] = {}
    for path in without:
        module, _, name = path.rpartition(".")
        of_module.setdefault(module, []).append(name)
    for module, names in of_module.items():
        yield Seen(module, f"No gradient reaches {', '.join(names)}.")
    for path, gradient in made.gradients.items():
        if gradient is not None and not bool(gradient.isfinite().all()):
            yield Seen(path.rpartition(".")[0], f"The gradient of {path} is not finite.", severity="error")


@check(
    "flat surrogate",
    severity="warning",
    remedy="Choose a wider surrogate gradient (a smaller alpha), or bring the potentials nearer to the threshold.",
    source="github.com/jeshraghian/snntorch/issues/219; Zenke & Vogels, Neural Computation 33(4), 2021",
)
def flat_surrogate(survey: Survey) -> Iterator[Seen]:
    """Layers of neurons whose surrogate gradient is 0 nearly everywhere, at rest and on the samples."""
    for path, neuron in survey.neurons.items():
        inputs = survey.modules[path].inputs
        if not inputs:
            continue
        passing, rest = _passing(neuron, inputs), _passing(neuron, [torch.zeros_like(x) for x in inputs])
        if passing is not None and rest is not None and rest < _REST and passing < _PASSING:
            yield Seen(
                path,
                f"Its gradient is 0 for {1 - passing:.1%} of the inputs it has, and for {1 - rest:.1%} at rest.",
            )


def _passing(neuron: nn.Module, inputs: list[Tensor]) -> float | None:
    """Share of the inputs through which the outputs have a gradient; None for a neuron that takes more than inputs."""
    functional.reset_net(neuron)
    given = [x.clone().requires_grad_() for x in inputs]
    neuron.eval()
    try:
        with torch.enable_grad(), seeded(0, inputs[0].device):
            # Of a call with all steps the first is looked at: its gradient does not hang on the steps before it.
            outputs = [first_tensor(neuron(x)) for x in given]
            total = sum(y.sum() for y in outputs)
            found = torch.autograd.grad(total, given, allow_unused=True) if total.requires_grad else [None] * len(given)
    except Exception:  # it takes its states as arguments, or has no backward in this mode
        return None
    finally:
        functional.reset_net(neuron)
    if step_mode_of(neuron) is None and any(gradient is None for gradient in found):
        return 0.0 if all(gradient is None for gradient in found) else None
    alive = [0.0 if gradient is None else float((gradient.abs() > _FLAT).double().mean()) for gradient in found]
    return sum(alive) / len(alive)
