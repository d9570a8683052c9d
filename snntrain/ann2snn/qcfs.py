"""Fine-tune the ANN with activations of as many levels as a spiking neuron has rates, then convert it."""

import math
from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor, fx, nn
from torch.nn import functional as F

from snntrain.ann2snn.activation import Rectifier, rectifiers
from snntrain.ann2snn.method import ChannelMSE, Method, Setting, to_net
from snntrain.ann2snn.scaler import scale_tensor
from snntrain.arguments import integer, invalid, real
from snntrain.error import Diverged
from snntrain.graph import per_channel
from snntrain.registry import register

Loss = Callable[[Tensor, Any], Tensor]


class _FloorStraightThrough(torch.autograd.Function):
    """floor(x), with the gradient of x."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        return x.floor()

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Tensor:
        return grad


class QCFSRectifier(Rectifier):
    """Quantization clip-floor-shift: a rectifier of L + 1 levels and an upper bound that is learned.

    y = λ·clip(floor(z·L/λ + ½)/L, 0, 1); floor has the gradient of the identity.

    That is the mean output over L steps of a neuron of threshold λ that starts at λ/2 and receives z at every step.

    Args:
        scale: λ at the start, a number > 0 or a tensor [C] of such.
        levels: L ≥ 1.

    Attributes:
        scale: λ, a parameter.

    Shapes: z [N, C, *]; output as input.
    Source: Bu et al., ICLR 2022, arXiv 2303.04347.
    """

    def __init__(self, scale: float | Tensor, levels: int = 4) -> None:
        super().__init__()
        start = scale_tensor(self, "scale", scale)
        if start.dim() > 1 or not (start > 0).all():
            raise invalid(self, "scale", "a number > 0 or a tensor [C] of such", scale)
        self.scale = nn.Parameter(start)
        self.levels = integer(self, "levels", levels, at_least=1)

    def bound(self) -> Tensor:
        """λ, kept positive whatever an optimizer does."""
        return self.scale.clamp_min(1e-6)

    def forward(self, x: Tensor) -> Tensor:
        bound = per_channel(self.bound(), x)
        levels = _FloorStraightThrough.apply(x * (self.levels / bound) + 0.5)
        return (bound * (levels / self.levels).clamp(0.0, 1.0)).to(x.dtype)

    def extra_repr(self) -> str:
        return f"levels={self.levels}, {self.scale.numel()} scales"


def replace_by_qcfs(gm: fx.GraphModule, scales: dict[str, Tensor], levels: int) -> None:
    """Put a QCFSRectifier in the place of every activation of a prepared net.

    Args:
        gm: what graph.prepare returned, changed in place.
        scales: λ at the start, for every name of rectifiers(gm); where it is 0, the mean of the others.
        levels: L.
    """
    for name, rectifier in rectifiers(gm).items():
        scale = scales[name]
        alive = scale > 0
        if not alive.all():
            safe = scale[alive].mean() if alive.any() else scale.new_tensor(rectifier.cap or 1.0)
            scale = torch.where(alive, scale, safe)
        gm.set_submodule(name, QCFSRectifier(scale, levels))


def fine_tune(
    gm: nn.Module,
    loader: Iterable[Any],
    epochs: int = 1,
    lr: float = 1e-3,
    loss: Loss = F.cross_entropy,
) -> list[float]:
    """Train all parameters with Adam; the rate falls to 0 as a cosine where the loader has a length.

    Args:
        gm: trained in place, in its present mode.
        loader: batches (x, target).
        epochs: passes through the loader, ≥ 1.
        lr: at the start, > 0.
        loss: of output and target.

    Returns: mean loss of each epoch.
    Raises: Diverged at the first step whose loss or gradients are not finite.
    """
    epochs, lr = integer("fine_tune", "epochs", epochs, at_least=1), real("fine_tune", "lr", lr, above=0)
    parameters = [p for p in gm.parameters() if p.requires_grad]
    optimizer = torch.optim.Adam(parameters, lr)
    total = epochs * _length(loader)
    step, history = 0, []
    with torch.inference_mode(False), torch.enable_grad():  # whatever the caller has set
        for _ in range(epochs):
            losses = []
            for batch in loader:
                if not isinstance(batch, (list, tuple)) or len(batch) < 2:
                    raise ValueError("fine_tune: training needs targets: batches must be (x, target).")
                x = to_net(gm, batch)
                target = batch[1].to(x.device) if isinstance(batch[1], Tensor) else batch[1]
                if total:
                    optimizer.param_groups[0]["lr"] = lr * (1 + math.cos(math.pi * step / total)) / 2
                optimizer.zero_grad()
                value = loss(gm(x), target)
                value.backward()
                # Normalizations are joined with the weights: large gradients.
                norm = nn.utils.clip_grad_norm_(parameters, 1.0)
                if not torch.isfinite(value.detach() + norm):
                    raise Diverged(
                        f"fine_tune: at step {step + 1} the loss is {value.item():.4g} and the norm of the gradients "
                        f"{norm.item():.4g}. Use a smaller lr than {lr:g} (callbacks.ann2snn.arguments.lr)."
                    )
                optimizer.step()
                losses.append(value.detach())
                step += 1
            if not losses:
                raise ValueError("fine_tune: the loader has no batches.")
            history.append(torch.stack(losses).mean().item())
    optimizer.zero_grad()
    return history


def _length(loader: Iterable[Any]) -> int:
    """Batches in a loader, 0 if it does not know: a DataLoader of an iterable data set has a length only in name."""
    try:
        return len(loader)
    except TypeError:
        return 0


def qcfs_settings(gm: fx.GraphModule, note: str = "") -> dict[str, Setting]:
    """θ = λ, v_init = λ/2 of every QCFSRectifier."""
    settings = {}
    for name, module in rectifiers(gm).items():
        if isinstance(module, QCFSRectifier):
            theta = module.bound().detach().clone()
            settings[name] = Setting(theta, theta / 2, note)
    return settings


@register("conversion method", "qcfs")
class QCFS(Method):
    """Fine-tune the net with QCFS activations; then θ = λ, v_init = λ/2.

    Unlike the other methods this changes the net: gm has new weights, and QCFSRectifiers, which start at the thresholds
    of ChannelMSE for T = L.

    Args:
        levels: L; None: 4 for T ≤ 8, else 8.
        epochs, lr, loss: of fine_tune.
        training: batches (x, target) to fine-tune on; None: the calibration data, which must hold targets then.

    Source: Bu et al., ICLR 2022, arXiv 2303.04347.
    """

    def __init__(
        self,
        levels: int | None = None,
        epochs: int = 1,
        lr: float = 1e-3,
        loss: Loss = F.cross_entropy,
        training: Iterable[Any] | None = None,
    ) -> None:
        self.levels = None if levels is None else integer(self, "levels", levels, at_least=1)
        self.epochs = integer(self, "epochs", epochs, at_least=1)
        self.lr = real(self, "lr", lr, above=0)
        self.loss = loss
        self.training = training

    def choose(self, gm: fx.GraphModule, loader: Iterable[Any], T: int) -> dict[str, Setting]:
        levels = self.levels or (4 if T <= 8 else 8)
        start = ChannelMSE().choose(gm, loader, levels)
        replace_by_qcfs(gm, {name: setting.theta for name, setting in start.items()}, levels)
        fine_tune(gm, loader if self.training is None else self.training, self.epochs, self.lr, self.loss)
        return qcfs_settings(gm, f"fine-tuned with {levels} levels")
